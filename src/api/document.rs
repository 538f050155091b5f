//! The OpenAPI document, with what its generator cannot say.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::tag::Tag;

/// A JSON value whose members keep their order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Node {
    Members(IndexMap<String, Node>),
    List(Vec<Node>),
    Other(Value),
}

/// `document` with the tags in the order of [`Tag`], which is the order of the sections of Swagger UI; and with
/// `additionalProperties: false` in every request body whose unknown members are refused.
pub fn refined(document: &str) -> String {
    let Ok(mut document) = serde_json::from_str::<Node>(document) else {
        return document.to_owned();
    };
    document.order_tags();
    document.close_bodies();
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

impl Node {
    fn at(&mut self, path: &[&str]) -> Option<&mut Self> {
        let mut node = self;
        for name in path {
            let Self::Members(members) = node else {
                return None;
            };
            node = members.get_mut(*name)?;
        }
        Some(node)
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Members(members) => match members.get(name)? {
                Self::Other(Value::String(text)) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    fn order_tags(&mut self) {
        if let Some(Self::List(tags)) = self.at(&["tags"]) {
            let place = |tag: &Self| {
                let name = tag.text("name");
                Tag::ORDER.iter().position(|known| Some(*known) == name)
            };
            tags.sort_by_key(place);
        }
    }

    /// A body is checked against its schema by `schema.rs`, which refuses what is not there unless it says otherwise.
    fn close_bodies(&mut self) {
        let mut bodies = BTreeSet::new();
        if let Some(paths) = self.at(&["paths"]) {
            paths.each(&mut |node| {
                if let Some(body) = node.at(&["requestBody"]) {
                    body.each(&mut |node| bodies.extend(node.reference()));
                }
            });
        }
        let Some(schemas) = self.at(&["components", "schemas"]) else {
            return;
        };
        let mut closed = BTreeSet::new();
        while let Some(name) = bodies.pop_first() {
            if let Some(schema) = schemas.at(&[&name])
                && closed.insert(name)
            {
                schema.each(&mut |node| {
                    bodies.extend(node.reference());
                    node.close();
                });
            }
        }
    }

    /// Of an object with members that are known.
    fn close(&mut self) {
        let is_object = self.text("type") == Some("object");
        if let Self::Members(members) = self
            && is_object
            && members.contains_key("properties")
        {
            let closed = || Self::Other(Value::Bool(false));
            members
                .entry("additionalProperties".to_owned())
                .or_insert_with(closed);
        }
    }

    /// The name of the schema that is referred to here.
    fn reference(&self) -> Option<String> {
        let name = self.text("$ref")?.strip_prefix("#/components/schemas/")?;
        Some(name.to_owned())
    }

    /// Calls `visit` with this and everything that is in it.
    fn each(&mut self, visit: &mut impl FnMut(&mut Self)) {
        visit(self);
        match self {
            Self::Members(members) => members.values_mut().for_each(|node| node.each(visit)),
            Self::List(nodes) => nodes.iter_mut().for_each(|node| node.each(visit)),
            Self::Other(_) => {}
        }
    }
}
