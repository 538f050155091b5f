//! What is known of one session.

use std::collections::BTreeMap;

use crate::history::{Answer, History, Id, Logout, Micros, Presentation, Session};

#[derive(Debug)]
pub struct Story<'a> {
    pub index: usize,
    pub session: &'a Session,
    /// In the order of their begin.
    pub told: Vec<&'a Presentation>,
    pub by_token: BTreeMap<Id, Vec<&'a Presentation>>,
    pub logouts: Vec<&'a Logout>,
    /// Which key signed each token.
    pub keys: BTreeMap<Id, Id>,
}

impl<'a> Story<'a> {
    /// Those of every session.
    pub fn all(history: &'a History) -> Vec<Self> {
        let begin = |(index, session): (usize, &'a Session)| Self {
            index,
            session,
            told: Vec::new(),
            by_token: BTreeMap::new(),
            logouts: Vec::new(),
            keys: [(session.first.jid, session.first.key)].into(),
        };
        let mut stories: Vec<_> = history.sessions.iter().enumerate().map(begin).collect();
        for logout in &history.logouts {
            stories[logout.session].logouts.push(logout);
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
    pub fn successors(&self, jid: Id) -> impl Iterator<Item = Id> {
        self.wins(jid).filter_map(|one| match one.answer {
            Answer::Won(next) => Some(next.jid),
            _ => None,
        })
    }

    /// The earliest moment at which the token may have been used, by any presentation but `except`.
    pub fn first_use(&self, jid: Id, except: Option<&Presentation>) -> Option<Micros> {
        let others = self.of_token(jid).iter().filter(|one| {
            one.answer.may_have_advanced()
                && except.is_none_or(|except| !std::ptr::eq(**one, except))
        });
        others.map(|one| one.span.begin).min()
    }
}
