//! The volume file that glusterd hands to clients: which bricks there are, and which of them hold the same files. Pure.

use std::collections::BTreeMap;

use super::seen::Set;

/// More cannot be watched.
const MOST_BRICKS: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// In the order of the file.
    pub bricks: Vec<Brick>,
    pub sets: Vec<Set>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Brick {
    /// As the volume was made with: an address or a name.
    pub host: String,
    pub path: String,
}

impl Brick {
    /// As the administrator writes it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.path)
    }
}

#[derive(Debug, Default)]
struct Section<'a> {
    kind: &'a str,
    options: BTreeMap<&'a str, &'a str>,
    below: Vec<&'a str>,
}

/// `None`: there is no brick in it.
pub fn parse(text: &str) -> Option<Volume> {
    let mut bricks: Vec<(&str, Brick)> = Vec::new();
    let mut groups: Vec<Section<'_>> = Vec::new();
    let mut section = ("", Section::default());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("volume") => section = (words.next().unwrap_or_default(), Section::default()),
            Some("type") => section.1.kind = words.next().unwrap_or_default(),
            Some("option") => {
                if let Some(name) = words.next() {
                    // A path may have spaces in it.
                    let value = line.split_once(name).map_or("", |(_, value)| value.trim());
                    section.1.options.insert(name, value);
                }
            }
            Some("subvolumes") => section.1.below = words.take(MOST_BRICKS).collect(),
            Some("end-volume") => {
                let (name, done) = std::mem::take(&mut section);
                match done.kind {
                    "protocol/client" if bricks.len() < MOST_BRICKS => {
                        bricks.extend(brick(&done).map(|brick| (name, brick)));
                    }
                    "cluster/replicate" | "cluster/disperse" if groups.len() < MOST_BRICKS => {
                        groups.push(done);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if bricks.is_empty() {
        return None;
    }
    let mut alone: BTreeMap<&str, String> = bricks
        .iter()
        .map(|(name, brick)| (*name, brick.name()))
        .collect();
    let mut sets: Vec<Set> = Vec::new();
    for group in &groups {
        let members: Vec<String> = group
            .below
            .iter()
            .filter_map(|name| alone.remove(name))
            .collect();
        if !members.is_empty() {
            sets.push(set(group, members));
        }
    }
    // Files on a brick that is in no group are nowhere else.
    sets.extend(alone.into_values().map(|brick| Set {
        bricks: vec![brick],
        needed: 1,
        half_with_first: false,
    }));
    Some(Volume {
        bricks: bricks.into_iter().map(|(_, brick)| brick).collect(),
        sets,
    })
}

fn brick(section: &Section<'_>) -> Option<Brick> {
    Some(Brick {
        host: (*section.options.get("remote-host")?).to_owned(),
        path: (*section.options.get("remote-subvolume")?).to_owned(),
    })
}

fn set(group: &Section<'_>, bricks: Vec<String>) -> Set {
    let count = bricks.len();
    let number = |name| group.options.get(name)?.parse::<usize>().ok();
    let (needed, half_with_first) = match (group.kind, group.options.get("quorum-type")) {
        ("cluster/disperse", _) => (
            count - number("redundancy").unwrap_or(0).min(count - 1),
            false,
        ),
        (_, Some(&"fixed")) => (number("quorum-count").unwrap_or(1), false),
        (_, Some(&"none")) => (1, false),
        (_, Some(&"auto")) => (count / 2 + 1, count.is_multiple_of(2)),
        // The default is a majority where there can be no draw.
        _ if count % 2 == 1 => (count / 2 + 1, false),
        _ => (1, false),
    };
    Set {
        needed: needed.clamp(1, count),
        bricks,
        half_with_first,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: u32) -> String {
        format!(
            "volume q-client-{number}\n    type protocol/client\n    option ping-timeout 42\n    option remote-subvolume \
             /srv/b{number} x\n    option remote-host g{number}\nend-volume\n\n"
        )
    }

    fn clients(count: u32) -> String {
        (0..count).map(client).collect()
    }

    #[test]
    fn three_copies_need_two() {
        let text = clients(3)
            + "volume q-replicate-0\n type cluster/replicate\n option afr-pending-xattr a\n subvolumes q-client-0 \
               q-client-1 q-client-2\nend-volume\nvolume q\n type debug/io-stats\n subvolumes q-replicate-0\nend-volume\n";
        let volume = parse(&text).expect("a volume");
        assert_eq!(volume.bricks.len(), 3);
        assert_eq!(volume.bricks[1].name(), "g1:/srv/b1 x");
        assert_eq!(volume.sets.len(), 1);
        assert_eq!(volume.sets[0].needed, 2);
        assert!(volume.sets[0].writable(|name| name != "g0:/srv/b0 x"));
        assert!(!volume.sets[0].writable(|name| name == "g0:/srv/b0 x"));
    }

    #[test]
    fn every_kind_of_group_has_its_quorum() {
        for (count, group, needed, half) in [
            (2, "type cluster/replicate", 1, false),
            (
                2,
                "type cluster/replicate\noption quorum-type auto",
                2,
                true,
            ),
            (
                3,
                "type cluster/replicate\noption quorum-type none",
                1,
                false,
            ),
            (
                3,
                "type cluster/replicate\noption quorum-type fixed\noption quorum-count 3",
                3,
                false,
            ),
            (
                3,
                "type cluster/replicate\noption quorum-type fixed\noption quorum-count 99",
                3,
                false,
            ),
            (6, "type cluster/disperse\noption redundancy 2", 4, false),
            (3, "type cluster/disperse\noption redundancy 99", 1, false),
        ] {
            let names: Vec<_> = (0..count).map(|n| format!("q-client-{n}")).collect();
            let text = format!(
                "{}volume g\n{group}\nsubvolumes {}\nend-volume\n",
                clients(count),
                names.join(" ")
            );
            let volume = parse(&text).expect("a volume");
            assert_eq!(volume.sets.len(), 1, "{group}");
            assert_eq!(
                (volume.sets[0].needed, volume.sets[0].half_with_first),
                (needed, half),
                "{group}"
            );
        }
    }

    #[test]
    fn half_is_enough_with_the_first() {
        let set = Set {
            bricks: vec!["a".to_owned(), "b".to_owned()],
            needed: 2,
            half_with_first: true,
        };
        assert!(set.writable(|name| name == "a"));
        assert!(!set.writable(|name| name == "b"));
    }

    #[test]
    fn without_copies_each_counts() {
        let volume = parse(&clients(2)).expect("a volume");
        assert_eq!(volume.sets.len(), 2);
        assert_eq!(parse("volume x\ntype debug/io-stats\nend-volume\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "((volume|type|option|subvolumes|end-volume|protocol/client|cluster/replicate|a|b|remote-host|remote-subvolume|\n) ){0,60}") {
            if let Some(volume) = parse(&text) {
                for set in &volume.sets {
                    prop_assert!((1..=set.bricks.len()).contains(&set.needed));
                }
            }
        }
    }
}
