//! The manual's chapter "In one maintenance window" as it is written: its steps, and the command lines in their blocks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// A command and the machine at whose prompt it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub machine: String,
    /// With the lines of a here-document.
    pub command: String,
}

/// One step, and its way back where that is more than Ctrl-C.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub title: String,
    pub forward: Vec<Line>,
    pub back: Vec<Line>,
}

pub fn steps() -> Result<Vec<Step>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manual.md");
    let manual = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, chapter) = manual
        .split_once("\n### In one maintenance window\n")
        .context("the manual has no such chapter")?;
    // Up to the next chapter of the same level or a higher one.
    let end = ["\n## ", "\n### "]
        .iter()
        .filter_map(|heading| chapter.find(heading))
        .min();
    parse(&chapter[..end.unwrap_or(chapter.len())])
}

/// In a step the first block is the way forward, and the second one, before which the text says "Back", the way back.
fn parse(chapter: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for section in chapter.split("\n#### ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let blocks: Vec<&str> = section.split("\n```").collect();
        if !title.starts_with("Step ") {
            ensure!(blocks.len() == 1, "{title}: commands that are in no step");
            continue;
        }
        let (forward, back) = match blocks.as_slice() {
            [_, forward, after]
                if after.contains(" Back: Ctrl-C") || title.contains("with sessions open") =>
            {
                (commands(forward)?, Vec::new())
            }
            [_, forward, between, back, _] if between.contains(" Back") => {
                (commands(forward)?, commands(back)?)
            }
            _ => {
                bail!("{title}: expected a block, and another one after a text that says \"Back\"")
            }
        };
        ensure!(!forward.is_empty(), "{title}: no command");
        steps.push(Step {
            title: title.to_owned(),
            forward,
            back,
        });
    }
    ensure!(!steps.is_empty(), "the chapter has no steps");
    Ok(steps)
}

fn commands(block: &str) -> Result<Vec<Line>> {
    let mut found: Vec<Line> = Vec::new();
    let mut until: Option<&str> = None;
    for line in block.lines() {
        if let Some(end) = until {
            let document = found.last_mut().context("a here-document")?;
            document.command.push('\n');
            document.command.push_str(line);
            until = until.filter(|_| line != end);
            continue;
        }
        // What is left of the fence.
        if line.is_empty() {
            continue;
        }
        let Some((machine, command)) = line.split_once("# ") else {
            bail!("no prompt: {line:?}");
        };
        until = command.ends_with("<<'END'").then_some("END");
        found.push(Line {
            machine: machine.to_owned(),
            command: command.to_owned(),
        });
    }
    ensure!(until.is_none(), "a here-document without end: {block}");
    Ok(found)
}

#[test]
fn blocks_become_commands_and_what_has_no_prompt_is_refused() -> Result<()> {
    let steps = parse(
        "\ntext\n\n#### Step 1: x\n\nDo:\n\n```\nlb1# a | b\nlb2# cat > f <<'END'\n\n[x]\nEND\nlb1# c\n```\n\nSee: y. Back:\n\n\
         ```\nlb1# d\n```\n\n#### Step 2: z\n\n```\nlb1# e\n```\n\nSee. Back: Ctrl-C.\n\n#### More\n\nwords\n",
    )?;
    let texts = |lines: &[Line]| -> Vec<String> {
        let text = |line: &Line| format!("{} {}", line.machine, line.command);
        lines.iter().map(text).collect()
    };
    assert_eq!(steps.len(), 2);
    assert_eq!(
        texts(&steps[0].forward),
        ["lb1 a | b", "lb2 cat > f <<'END'\n\n[x]\nEND", "lb1 c"]
    );
    assert_eq!(texts(&steps[0].back), ["lb1 d"]);
    assert_eq!(texts(&steps[1].forward), ["lb1 e"]);
    assert!(steps[1].back.is_empty());
    for wrong in [
        "\n#### Step 1: x\n\n```\noutput\n```\n\n Back: Ctrl-C\n",
        "\n#### Step 1: x\n\n```\nlb1# a <<'END'\n```\n\n Back: Ctrl-C\n",
        "\n#### Step 1: x\n\n```\nlb1# a\n```\n\nforth:\n\n```\nlb1# b\n```\n",
        "\n#### Step 1: x\n\nno block\n",
        "\n#### More\n\n```\nlb1# a\n```\n",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    Ok(())
}
