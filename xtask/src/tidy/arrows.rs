//! Which crate may depend on which: the arrows of ARCHITECTURE.md.
//!
//! Dependencies for tests are free: a test of the engine may use a model of the zoo.

use std::collections::{BTreeSet, HashMap};

use crate::workspace::{Metadata, Node, Package};

/// Each crate of the workspace and the crates of the workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("regraft-graph", &[]),
    ("regraft-models", &["regraft-graph"]),
    ("regraft-weights", &[]),
    ("regraft-onednn", &[]),
    ("regraft-engine", &["regraft-graph", "regraft-onednn"]),
    ("regraft-data", &[]),
    ("regraft-eval", &[]),
    (
        "regraft-train",
        &[
            "regraft-graph",
            "regraft-models",
            "regraft-weights",
            "regraft-data",
            "regraft-engine",
        ],
    ),
    (
        "regraft",
        &[
            "regraft-graph",
            "regraft-models",
            "regraft-weights",
            "regraft-onednn",
            "regraft-engine",
            "regraft-data",
            "regraft-train",
            "regraft-eval",
        ],
    ),
    ("regraft-cli", &["regraft", "regraft-eval"]),
    ("xtask", &[]),
];

/// Clients and servers of networks, and the protocols below them.
const NETWORK_CRATES: &[&str] = &[
    "attohttpc",
    "axum",
    "curl",
    "hf-hub",
    "hyper",
    "isahc",
    "minreq",
    "native-tls",
    "openssl",
    "reqwest",
    "rustls",
    "ureq",
];

/// Crates that run asynchronous code.
const ASYNC_CRATES: &[&str] = &["async-io", "async-std", "futures-executor", "smol", "tokio"];

/// Crates that compute with tensors.
const ENGINE_CRATES: &[&str] = &[
    "burn",
    "candle-core",
    "cudarc",
    "onednn-src",
    "ort",
    "regraft-engine",
    "regraft-onednn",
    "tch",
];

/// Crates that must not use certain others, not even through a third one.
const NEVER: &[(&str, &[&[&str]])] = &[
    (
        "regraft-graph",
        &[ENGINE_CRATES, NETWORK_CRATES, ASYNC_CRATES],
    ),
    (
        "regraft-models",
        &[ENGINE_CRATES, NETWORK_CRATES, ASYNC_CRATES],
    ),
    (
        "regraft-data",
        &[ENGINE_CRATES, NETWORK_CRATES, ASYNC_CRATES],
    ),
    (
        "regraft-eval",
        &[ENGINE_CRATES, NETWORK_CRATES, ASYNC_CRATES],
    ),
    ("regraft-onednn", &[NETWORK_CRATES, ASYNC_CRATES]),
    ("regraft-engine", &[NETWORK_CRATES, ASYNC_CRATES]),
    ("xtask", &[ENGINE_CRATES]),
];

/// The one crate that may name a network crate among its own dependencies.
const NETWORK_OWNER: &str = "regraft-weights";

/// One line for each dependency that should not be.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let graph = Graph::new(metadata);
    let mut problems = Vec::new();
    let members: BTreeSet<&str> = metadata.members().map(|member| &*member.name).collect();
    for member in metadata.members() {
        let name = &*member.name;
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            problems.push(format!(
                "`{name}` has no arrows: say in xtask/src/tidy/arrows.rs what it may depend on"
            ));
            continue;
        };
        for used in graph.direct(&member.id) {
            if members.contains(used) && !allowed.contains(&used) {
                problems.push(format!(
                    "`{name}` depends on `{used}`, which its arrows do not allow ({})",
                    listed(allowed)
                ));
            }
            if NETWORK_CRATES.contains(&used) && name != NETWORK_OWNER {
                problems.push(format!(
                    "`{name}` depends on the network crate `{used}`, only `{NETWORK_OWNER}` may"
                ));
            }
        }
        let banned = NEVER.iter().find(|(crate_name, _)| *crate_name == name);
        for banned in banned
            .iter()
            .flat_map(|(_, lists)| lists.iter().copied().flatten())
        {
            if let Some(way) = graph.way(&member.id, banned) {
                problems.push(format!(
                    "`{name}` must not depend on `{banned}`, but does: {}",
                    way.join(" -> ")
                ));
            }
        }
    }
    problems
}

fn listed(crates: &[&str]) -> String {
    if crates.is_empty() {
        "it uses no other crate of the workspace".to_owned()
    } else {
        crates.join(", ")
    }
}

/// The dependencies that end up in a build, those for tests left out.
struct Graph<'a> {
    packages: HashMap<&'a str, &'a Package>,
    nodes: HashMap<&'a str, &'a Node>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let packages = metadata.packages.iter();
        let nodes = metadata.resolve.nodes.iter();
        Self {
            packages: packages.map(|package| (&*package.id, package)).collect(),
            nodes: nodes.map(|node| (&*node.id, node)).collect(),
        }
    }

    /// Ids of the packages that one uses itself.
    fn uses(&self, id: &str) -> impl Iterator<Item = &'a str> {
        let dependencies = self.nodes.get(id).map_or(&[][..], |node| &node.deps);
        dependencies
            .iter()
            .filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind.as_deref() != Some("dev"))
            })
            .map(|dependency| &*dependency.pkg)
    }

    /// Names of the packages that one uses itself.
    fn direct(&self, id: &str) -> impl Iterator<Item = &'a str> {
        self.uses(id).map(|used| self.name(used))
    }

    /// The shortest chain of names from a package to one called `target`.
    fn way(&self, id: &'a str, target: &str) -> Option<Vec<&'a str>> {
        let mut ways = vec![vec![id]];
        let mut seen = BTreeSet::from([id]);
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let last = way[way.len() - 1];
                for used in self.uses(last) {
                    if !seen.insert(used) {
                        continue;
                    }
                    let mut way = way.clone();
                    way.push(used);
                    if self.name(used) == target {
                        return Some(way.into_iter().map(|id| self.name(id)).collect());
                    }
                    longer.push(way);
                }
            }
            ways = longer;
        }
        None
    }

    fn name(&self, id: &'a str) -> &'a str {
        self.packages.get(id).map_or(id, |package| &package.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Metadata with these packages, members first, and edges `(from, to, kind)`.
    fn metadata(
        members: &[&str],
        others: &[&str],
        edges: &[(&str, &str, Option<&str>)],
    ) -> Metadata {
        let names = || members.iter().chain(others);
        let packages: Vec<Value> = names()
            .map(|name| json!({"id": name, "name": name, "targets": []}))
            .collect();
        let nodes: Vec<Value> = names()
            .map(|name| {
                let deps: Vec<Value> = edges
                    .iter()
                    .filter(|(from, _, _)| from == name)
                    .map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]}))
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        serde_json::from_value(json!({
            "packages": packages,
            "workspace_members": members,
            "resolve": {"nodes": nodes},
        }))
        .unwrap()
    }

    #[test]
    fn allowed_arrows_are_fine() {
        let edges = [("regraft-engine", "regraft-graph", None)];
        let metadata = metadata(&["regraft-engine", "regraft-graph"], &[], &edges);
        assert!(check(&metadata).is_empty());
    }

    #[test]
    fn an_arrow_the_wrong_way_is_a_problem() {
        let edges = [("regraft-graph", "regraft-models", Some("build"))];
        let problems = check(&metadata(&["regraft-graph", "regraft-models"], &[], &edges));
        assert_eq!(
            problems,
            [
                "`regraft-graph` depends on `regraft-models`, which its arrows do not allow \
                 (it uses no other crate of the workspace)"
            ]
        );
    }

    #[test]
    fn tests_may_use_anything() {
        let edges = [
            ("regraft-graph", "regraft-models", Some("dev")),
            ("regraft-graph", "tokio", Some("dev")),
        ];
        let members = ["regraft-graph", "regraft-models"];
        assert!(check(&metadata(&members, &["tokio"], &edges)).is_empty());
    }

    #[test]
    fn a_banned_crate_is_found_behind_others_with_the_way_to_it() {
        let edges = [
            ("regraft-data", "image", None),
            ("image", "fetcher", None),
            ("fetcher", "tokio", None),
        ];
        let others = ["image", "fetcher", "tokio"];
        let problems = check(&metadata(&["regraft-data"], &others, &edges));
        assert_eq!(
            problems,
            ["`regraft-data` must not depend on `tokio`, but does: \
                 regraft-data -> image -> fetcher -> tokio"]
        );
    }

    #[test]
    fn only_one_crate_may_use_the_network() {
        let edges = [
            ("regraft-weights", "ureq", None),
            ("regraft-train", "ureq", None),
        ];
        let members = ["regraft-weights", "regraft-train"];
        let problems = check(&metadata(&members, &["ureq"], &edges));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("`regraft-train` depends on the network crate `ureq`"));
    }

    #[test]
    fn a_new_crate_needs_arrows() {
        let problems = check(&metadata(&["regraft-new"], &[], &[]));
        assert!(
            problems[0].contains("`regraft-new` has no arrows"),
            "{problems:?}"
        );
    }

    #[test]
    fn arrows_name_known_crates_and_form_no_circle() {
        let mut done: Vec<&str> = Vec::new();
        while done.len() < ARROWS.len() {
            let ready = ARROWS.iter().find(|(name, uses)| {
                !done.contains(name) && uses.iter().all(|used| done.contains(used))
            });
            let (name, _) = ready.expect("every crate depends on finished ones");
            done.push(name);
        }
    }
}
