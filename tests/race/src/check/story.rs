//! What is known of one session.

use std::collections::BTreeMap;

use crate::history::{
    Amendment, Answer, Ended, Ending, History, Id, Issued, Micros, Presentation, Read, Session,
};

#[derive(Debug)]
pub struct Story<'a> {
    pub index: usize,
    pub history: &'a History,
    pub session: &'a Session,
    /// In the order of their begin.
    pub told: Vec<&'a Presentation>,
    pub by_token: BTreeMap<Id, Vec<&'a Presentation>>,
    pub endings: Vec<&'a Ending>,
    pub amendments: Vec<&'a Amendment>,
    pub reads: Vec<&'a Read>,
    /// Which key signed each token.
    pub keys: BTreeMap<Id, Id>,
}

/// What is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Only what is known to have been done.
    Known,
    /// Also what may have been.
    Possible,
}

impl<'a> Story<'a> {
    /// Those of every session.
    pub fn all(history: &'a History) -> Vec<Self> {
        let begin = |(index, session): (usize, &'a Session)| Self {
            index,
            history,
            session,
            told: Vec::new(),
            by_token: BTreeMap::new(),
            endings: Vec::new(),
            amendments: Vec::new(),
            reads: Vec::new(),
            keys: [(session.first.jid, session.first.key)].into(),
        };
        let mut stories: Vec<_> = history.sessions.iter().enumerate().map(begin).collect();
        let mut of_app: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, session) in history.sessions.iter().enumerate() {
            of_app.entry(session.app).or_default().push(index);
        }
        for ending in &history.endings {
            match ending.of {
                Ended::Session(index) => stories[index].endings.push(ending),
                Ended::App(app) => {
                    let until = history.done(ending.span, ending.outcome);
                    for index in of_app.get(&app).into_iter().flatten() {
                        let story = &mut stories[*index];
                        if story.session.span.begin < until {
                            story.endings.push(ending);
                        }
                    }
                }
            }
        }
        for amendment in &history.amendments {
            stories[amendment.session].amendments.push(amendment);
        }
        for read in &history.reads {
            stories[read.session].reads.push(read);
        }
        for one in &history.presentations {
            stories[one.session].told.push(one);
        }
        for story in &mut stories {
            story.told.sort_by_key(|one| one.span.begin);
            for one in &story.told {
                story.by_token.entry(one.jid).or_default().push(one);
                if let Answer::Won(next) = one.answer {
                    story.keys.insert(next.jid, next.key);
                }
            }
        }
        stories
    }

    /// The presentations of a token, in the order of their begin.
    pub fn of_token(&self, jid: Id) -> &[&'a Presentation] {
        self.by_token.get(&jid).map_or(&[], Vec::as_slice)
    }

    /// Those that renewed it.
    pub fn wins(&self, jid: Id) -> impl Iterator<Item = &'a Presentation> {
        let presented = self.of_token(jid).iter().copied();
        presented.filter(|one| matches!(one.answer, Answer::Won(_)))
    }

    /// What a client got for the token; more than one if there was a double win.
    pub fn successors(&self, jid: Id) -> impl Iterator<Item = Issued> {
        self.wins(jid).filter_map(|one| one.answer.won())
    }

    /// The earliest moment at which the token was used, or may have been, by any presentation but `except`.
    pub fn first_use(
        &self,
        jid: Id,
        except: Option<&Presentation>,
        belief: Belief,
    ) -> Option<Micros> {
        let others = self.of_token(jid).iter().filter(|one| {
            let is_use = match belief {
                Belief::Known => matches!(one.answer, Answer::Won(_)),
                Belief::Possible => one.answer.may_have_advanced(),
            };
            is_use && except.is_none_or(|except| !std::ptr::eq(**one, except))
        });
        others.map(|one| one.span.begin).min()
    }

    /// Until when a presentation may be carried out.
    pub fn over(&self, one: &Presentation) -> Micros {
        self.history.over(one.span, one.answer)
    }
}
