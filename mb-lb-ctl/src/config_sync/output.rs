//! What rsync and git say they did, as changes.

/// So much of each stream is kept. More is read and counted, so that the writer does not stand still.
pub(super) const KEPT: usize = 256 * 1024;

/// The beginning of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Captured {
    pub head: Vec<u8>,
    /// Line ends that came after it.
    pub lines_left_out: u64,
}

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        let (kept, left) = bytes.split_at(room);
        self.head.extend_from_slice(kept);
        self.lines_left_out += left.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
}

/// So many are kept by name.
pub const LISTED: usize = 20;

/// What differed at a target, and does not any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub count: u64,
    /// `+ NAME`, `- NAME` or `~ NAME`; at most [`LISTED`].
    pub listed: Vec<String>,
    /// With git: `2 commits, 1a2b3c4..5d6e7f8`.
    pub commits: Option<String>,
}

impl Changes {
    pub const fn is_empty(&self) -> bool {
        self.count == 0 && self.commits.is_none()
    }

    fn add(&mut self, mark: char, name: &str) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(format!("{mark} {}", clean(name)));
        }
    }

    /// `3 files: ~ main.cf, + new, - old`, with as many names as fit into a line.
    pub fn summary(&self) -> String {
        const NAMED: usize = 5;
        let noun = if self.count == 1 { "file" } else { "files" };
        let mut text = match &self.commits {
            Some(commits) => format!("{commits}, {} {noun}", self.count),
            None => format!("{} {noun}", self.count),
        };
        let named: Vec<&str> = self.listed.iter().take(NAMED).map(String::as_str).collect();
        if !named.is_empty() {
            text.push_str(": ");
            text.push_str(&named.join(", "));
        }
        if self.count > named.len() as u64 && !named.is_empty() {
            text.push_str(", ...");
        }
        text
    }
}

/// Names come from another machine, and go to terminals.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect()
}

/// What is given to rsync as `--out-format`; the first eleven characters are those of `--itemize-changes` in rsync(1).
pub(super) const OUT_FORMAT: &str = "%i %n%L";

/// Lines of [`OUT_FORMAT`].
pub(super) fn rsync(output: &Captured) -> Changes {
    let mut changes = Changes::default();
    for line in output.text().lines() {
        let Some((item, name)) = line.split_at_checked(11) else {
            continue;
        };
        let name = name.trim_start();
        let mark = match item.as_bytes() {
            [b'*', ..] if item.starts_with("*deleting") => '-',
            [b'<' | b'>' | b'c' | b'h', _, b'+', ..] => '+',
            [
                b'<' | b'>' | b'c' | b'h' | b'.',
                b'f' | b'd' | b'L' | b'D' | b'S',
                ..,
            ] => '~',
            _ => continue,
        };
        changes.add(mark, name);
    }
    changes.count += output.lines_left_out;
    changes
}

/// The line that begins with `mb-lb`, and those of `git diff --name-status`; see `command::PULL`.
pub(super) fn git(output: &Captured) -> Changes {
    let mut changes = Changes::default();
    let text = output.text();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("mb-lb "));
    let Some(first) = lines.next() else {
        return changes;
    };
    if let [_, old, new, count] = first.split(' ').collect::<Vec<_>>().as_slice() {
        let short = |hash: &str| hash.chars().take(7).collect::<String>();
        let noun = if *count == "1" { "commit" } else { "commits" };
        let count = clean(count);
        changes.commits = Some(clean(&format!(
            "{count} {noun} {}..{}",
            short(old),
            short(new)
        )));
    }
    for line in lines {
        let Some((status, name)) = line.split_once('\t') else {
            continue;
        };
        let mark = match status {
            "A" => '+',
            "D" => '-',
            _ => '~',
        };
        changes.add(mark, name);
    }
    changes.count += output.lines_left_out;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(text: &str) -> Captured {
        Captured {
            head: text.as_bytes().to_vec(),
            lines_left_out: 0,
        }
    }

    #[test]
    fn itemized_lines() {
        let changes = rsync(&captured(
            "cd+++++++++ ./\n<f+++++++++ new\n<f.st...... main.cf\n.f...p..... key\n*deleting   old\ncL+++++++++ link -> new\n\
             sent 3 bytes\nwelcome to the machine\n\n<f+++++++++ a\u{1b}[31m\n",
        ));
        assert_eq!(
            changes.listed,
            [
                "+ ./",
                "+ new",
                "~ main.cf",
                "~ key",
                "- old",
                "+ link -> new",
                "+ a?[31m"
            ]
        );
        assert_eq!(changes.count, 7);
        assert_eq!(
            changes.summary(),
            "7 files: + ./, + new, ~ main.cf, ~ key, - old, ..."
        );
        assert!(rsync(&captured("")).is_empty());
    }

    #[test]
    fn more_than_is_kept_is_counted() {
        let mut output = captured(&"<f+++++++++ x\n".repeat(30));
        output.lines_left_out = 1000;
        let changes = rsync(&output);
        assert_eq!((changes.count, changes.listed.len()), (1030, LISTED));
    }

    #[test]
    fn commits() {
        let changes = git(&captured(
            "hello\nmb-lb 1a2b3c4d5e 5d6e7f8a9b 2\nM\tconf/main.cf\nA\tnew\nD\told\n",
        ));
        assert_eq!(
            changes.summary(),
            "2 commits 1a2b3c4..5d6e7f8, 3 files: ~ conf/main.cf, + new, - old"
        );
        assert!(git(&captured("")).is_empty());
    }
}
