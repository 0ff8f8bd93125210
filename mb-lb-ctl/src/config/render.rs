//! Diagnostics for people: the line of the file, a caret, and what to write instead.

use std::ops::Range;

use annotate_snippets::{
    Annotation, AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str,
};

use super::diagnostic::{Diagnostic, Location, Severity};
use super::mask::mask;

/// Lines between two places up to which they are shown in one piece.
const NEAR: usize = 20;

/// All diagnostics with the lines that they are about, an empty line after each. `path` is shown, not read. Passwords
/// are not shown.
pub fn render(diagnostics: &[Diagnostic], source: &str, path: &str, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let source = mask(source);
    let mut text = String::new();
    for diagnostic in diagnostics {
        text += &one(diagnostic, &source, path, &renderer);
        text += "\n\n";
    }
    text
}

fn one(diagnostic: &Diagnostic, source: &str, path: &str, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let location = &diagnostic.location;
    let title = level
        .primary_title(&diagnostic.message)
        .id(diagnostic.code.id());
    let mut primary = Piece::new(source, location);
    primary.annotate(AnnotationKind::Primary, location, None);
    let mut pieces = vec![primary];
    if let Some(related) = &diagnostic.related {
        let near = related.location.line.abs_diff(location.line) <= NEAR;
        if !near {
            pieces.push(Piece::new(source, &related.location));
        }
        if let Some(piece) = pieces.last_mut() {
            piece.cover(source, &related.location);
            let label = Some(related.label.as_str());
            piece.annotate(AnnotationKind::Context, &related.location, label);
        }
    }
    let snippets = pieces.into_iter().map(|piece| piece.snippet(source, path));
    let mut group = title.elements(snippets);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    renderer.render(&[group])
}

/// Some whole lines of the file. Only these are handed on, so that a long file with many errors stays cheap.
struct Piece<'d> {
    lines: Range<usize>,
    first: usize,
    marks: Vec<(AnnotationKind, Range<usize>, Option<&'d str>)>,
}

impl<'d> Piece<'d> {
    fn new(source: &str, location: &Location) -> Self {
        Self {
            lines: lines_of(source, location),
            first: location.line,
            marks: Vec::new(),
        }
    }

    fn cover(&mut self, source: &str, location: &Location) {
        let lines = lines_of(source, location);
        self.lines = self.lines.start.min(lines.start)..self.lines.end.max(lines.end);
        self.first = self.first.min(location.line);
    }

    fn annotate(&mut self, kind: AnnotationKind, location: &Location, label: Option<&'d str>) {
        self.marks.push((kind, location.start..location.end, label));
    }

    fn snippet(self, source: &'d str, path: &'d str) -> Snippet<'d, Annotation<'d>> {
        let start = self.lines.start;
        let marks = self.marks.into_iter().map(|(kind, span, label)| {
            let end = span.end.min(self.lines.end);
            kind.span(span.start - start..end - start).label(label)
        });
        Snippet::source(&source[self.lines.clone()])
            .path(path)
            .line_start(self.first)
            .annotations(marks)
    }
}

/// The line where a place starts; a caret under several lines would hide more than it shows.
fn lines_of(source: &str, location: &Location) -> Range<usize> {
    let start = source[..location.start].rfind('\n').map_or(0, |at| at + 1);
    let rest = &source[location.start..];
    let end = rest
        .find('\n')
        .map_or(source.len(), |at| location.start + at);
    start..end
}
