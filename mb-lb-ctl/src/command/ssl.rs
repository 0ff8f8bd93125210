//! Certificates by the socket: `show|set|commit|abort|new|del ssl cert` and `show|add|del ssl crt-list`, as acme.sh's hook
//! for HAProxy says them.
//!
//! The state is HAProxy's: one transaction at a time, and stores that were made by `new ssl cert` and are in no list yet.
//! What differs: a list is a directory that the configuration names, and what is committed is written to its file, so that it
//! outlives the process. Files are read and written by `admin/certificates.rs`; here are words and rules.

pub mod details;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use zeroize::Zeroizing;

/// A chain with its key, in PEM form.
pub type Pem = Zeroizing<String>;

/// Endings that make a file of a directory a certificate.
const ENDINGS: [&str; 3] = ["pem", "crt", "cer"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ssl {
    Show(Option<String>),
    Set { path: String, pem: Pem },
    Commit(String),
    Abort(String),
    New(String),
    Delete(String),
    ShowLists,
    ShowList { list: String, numbered: bool },
    AddToList { list: String, path: String },
    DeleteFromList { list: String, path: String },
}

impl Ssl {
    /// Understands the words of such a command; `None`: it is another one. The error is HAProxy's text.
    pub fn parse(words: &[&str], payload: Option<&str>) -> Option<Result<Self, String>> {
        let owned = |word: &str| word.to_owned();
        let named = |rest: &[&str], complaint: &str, of: fn(String) -> Self| match rest {
            [path, ..] => Ok(of(owned(path))),
            [] => Err(format!("{complaint}\n")),
        };
        let with_list = |rest: &[&str], verb: &str, of: fn(String, String) -> Self| {
            // Of a line for the list only the file counts: the options of HAProxy's lists have no meaning for a directory.
            let from_payload = payload.and_then(|text| text.split_whitespace().next());
            match (rest, rest.get(1).copied().or(from_payload)) {
                ([list, ..], Some(path)) => Ok(of(owned(list), owned(path))),
                _ => Err(format!(
                    "'{verb} ssl crtlist' expects a filename and a certificate name\n"
                )),
            }
        };
        Some(match words {
            ["show", "ssl", "cert", rest @ ..] => Ok(Self::Show(rest.first().map(|w| owned(w)))),
            ["set", "ssl", "cert", rest @ ..] => match (rest, payload) {
                ([path, ..], Some(pem)) => Ok(Self::Set {
                    path: owned(path),
                    pem: Zeroizing::new(pem.to_owned()),
                }),
                // The quotation mark that is missing is missing there.
                _ => Err(
                    "'set ssl cert expects a filename and a certificate as a payload\n".to_owned(),
                ),
            },
            ["commit", "ssl", "cert", rest @ ..] => {
                named(rest, "'commit ssl cert expects a filename", Self::Commit)
            }
            ["abort", "ssl", "cert", rest @ ..] => {
                named(rest, "'abort ssl cert' expects a filename", Self::Abort)
            }
            ["new", "ssl", "cert", rest @ ..] => {
                named(rest, "'new ssl cert' expects a filename", Self::New)
            }
            ["del", "ssl", "cert", rest @ ..] => named(
                rest,
                "'del ssl cert' expects a certificate name",
                Self::Delete,
            ),
            ["show", "ssl", "crt-list", "-n"] => {
                Err("'show ssl crt-list -n' expects a filename or a directory\n".to_owned())
            }
            ["show", "ssl", "crt-list", "-n", list, ..] => Ok(Self::ShowList {
                list: owned(list),
                numbered: true,
            }),
            ["show", "ssl", "crt-list", list, ..] => Ok(Self::ShowList {
                list: owned(list),
                numbered: false,
            }),
            ["show", "ssl", "crt-list"] => Ok(Self::ShowLists),
            ["add", "ssl", "crt-list", rest @ ..] => {
                with_list(rest, "add", |list, path| Self::AddToList { list, path })
            }
            ["del", "ssl", "crt-list", rest @ ..] => with_list(rest, "del", |list, path| {
                Self::DeleteFromList { list, path }
            }),
            _ => return None,
        })
    }
}

/// What the configuration names, and what is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Directories that certificates are taken from.
    pub directories: BTreeSet<String>,
    /// Files, of directories as well.
    pub files: BTreeSet<String>,
}

impl Served {
    /// The directory that a file is in, where the configuration names it.
    fn directory_of(&self, path: &str) -> Option<&String> {
        let parent = Path::new(path).parent()?;
        self.directories
            .iter()
            .find(|directory| Path::new(directory) == parent)
    }
}

/// Transactions and stores of all connections.
#[derive(Debug, Default)]
pub struct Store {
    transaction: Option<(String, Pem)>,
    /// By `new ssl cert`; `None`: empty.
    stores: BTreeMap<String, Option<Pem>>,
    /// Files that some client was told of. A file that is put into a directory is served without a word, so that whoever
    /// looked a moment before and then says `new ssl cert` is right, too.
    told: BTreeSet<String>,
}

/// What a commit has to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    pub pem: Pem,
    /// The file is served: it is to be written.
    pub is_served: bool,
}

const UNREFERENCED: &str =
    "Can't replace a certificate which is not referenced by the configuration!\n";

impl Store {
    /// Clients are taken to know what was there when the socket was opened.
    pub fn new(served: &Served) -> Self {
        Self {
            told: served.files.clone(),
            ..Self::default()
        }
    }

    pub fn show(&mut self, served: &Served) -> String {
        let mut text = String::new();
        if let Some((path, _)) = &self.transaction {
            text += &format!("# transaction\n*{path}\n");
        }
        text += "# filename\n";
        let files: BTreeSet<_> = served.files.iter().chain(self.stores.keys()).collect();
        for path in files {
            text += &format!("{path}\n");
        }
        self.told.clone_from(&served.files);
        text
    }

    /// What there is under this name: `*PATH` is that of the transaction.
    pub fn find(&self, path: &str, served: &Served) -> Found {
        if let Some(pending) = path.strip_prefix('*') {
            return match &self.transaction {
                Some((known, pem)) if known == pending => Found::Unused(pem.clone()),
                _ => Found::Nothing,
            };
        }
        match self.stores.get(path) {
            _ if served.files.contains(path) => Found::Used,
            Some(Some(pem)) => Found::Unused(pem.clone()),
            Some(None) => Found::Empty,
            None => Found::Nothing,
        }
    }

    /// `is_good`: there is a certificate in it that can be read.
    pub fn set(&mut self, path: String, pem: Pem, served: &Served, is_good: bool) -> String {
        if let Some((known, _)) = &self.transaction
            && *known != path
        {
            return format!(
                "The ongoing transaction is about '{known}' but you are trying to set '{path}'\nCan't update {path}!\n"
            );
        }
        if !served.files.contains(&path) && !self.stores.contains_key(&path) {
            return format!("{UNREFERENCED}Can't update {path}!\n");
        }
        if !is_good {
            return format!(
                "unable to load certificate from file '{path}'.\nCan't load the payload\nCan't update {path}!\n"
            );
        }
        let word = match &self.transaction {
            Some(_) => "updated",
            None => "created",
        };
        let text = format!("Transaction {word} for certificate {path}!\n");
        self.transaction = Some((path, pem));
        text
    }

    /// What is to be written; the error is the answer.
    pub fn commit(&self, path: &str, served: &Served) -> Result<Commit, String> {
        match &self.transaction {
            None => Err(format!("No ongoing transaction! !\nCan't commit {path}!\n")),
            Some((known, _)) if known != path => Err(format!(
                "The ongoing transaction is about '{known}' but you are trying to set '{path}'\nCan't commit {path}!\n"
            )),
            Some((_, pem)) => Ok(Commit {
                pem: pem.clone(),
                is_served: served.files.contains(path),
            }),
        }
    }

    /// It was written, or needs no writing.
    pub fn committed(&mut self, path: &str) {
        let Some((path, pem)) = self.transaction.take_if(|(known, _)| known == path) else {
            return;
        };
        if let Some(store) = self.stores.get_mut(&path) {
            *store = Some(pem);
        }
    }

    pub fn abort(&mut self, path: &str) -> String {
        match &self.transaction {
            None => "No ongoing transaction!\n".to_owned(),
            Some((known, _)) if known != path => format!(
                "The ongoing transaction is about '{known}' but you are trying to abort a transaction for '{path}'\n"
            ),
            Some(_) => {
                self.transaction = None;
                format!("Transaction aborted for certificate '{path}'!\n")
            }
        }
    }

    pub fn create(&mut self, path: String, served: &Served) -> String {
        let is_known = served.files.contains(&path)
            && (self.told.contains(&path) || served.directory_of(&path).is_none());
        if is_known || self.stores.contains_key(&path) {
            return format!("Certificate '{path}' already exists!\n");
        }
        let text = format!("New empty certificate store '{path}'!\n");
        self.stores.insert(path, None);
        text
    }

    pub fn delete(&mut self, path: &str, served: &Served) -> String {
        if self
            .transaction
            .as_ref()
            .is_some_and(|(known, _)| known == path)
        {
            return format!(
                "Can't remove the certificate: ongoing transaction for the certificate '{path}'\n"
            );
        }
        if served.files.contains(path) {
            return format!(
                "Can't remove the certificate: certificate '{path}' in use, can't be deleted!\n\n"
            );
        }
        match self.stores.remove(path) {
            Some(_) => format!("Certificate '{path}' deleted!\n"),
            None => {
                format!("Can't remove the certificate: certificate '{path}' doesn't exist!\n\n")
            }
        }
    }

    /// What is to be written into the directory, `None`: it is there already; the error is the answer.
    pub fn add(&self, list: &str, path: &str, served: &Served) -> Result<Option<Pem>, String> {
        let cannot = |why: String| Err(format!("Can't edit the crt-list: {why}!\n"));
        let list = list.trim_end_matches('/');
        if !served.directories.contains(list) {
            return cannot(format!("crt-list '{list}' does not exist"));
        }
        if Path::new(path).parent() != Some(Path::new(list)) {
            return Err(format!(
                "Can't edit the crt-list: '{list}' is a directory, certificate path '{path}' must contain the directory path\n"
            ));
        }
        let Some(store) = self.stores.get(path) else {
            return match served.files.contains(path) {
                true => cannot("file already exists in this directory".to_owned()),
                false => cannot(format!("certificate '{path}' does not exist")),
            };
        };
        let Some(pem) = store else {
            return cannot(format!("certificate '{path}' is empty"));
        };
        let ending = Path::new(path)
            .extension()
            .and_then(|ending| ending.to_str());
        if !ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            return cannot(format!(
                "the name of '{path}' does not end in .pem, .crt or .cer, and no other file of a directory is read"
            ));
        }
        Ok((!served.files.contains(path)).then(|| pem.clone()))
    }

    pub fn added(&mut self, list: &str, path: &str) -> String {
        self.stores.remove(path);
        self.told.insert(path.to_owned());
        let list = list.trim_end_matches('/');
        format!("Inserting certificate '{path}' in crt-list '{list}'.\nSuccess!\n")
    }
}

/// What is known under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Its file is served.
    Used,
    /// Nobody is served with it.
    Unused(Pem),
    Empty,
    Nothing,
}

pub fn lists(served: &Served) -> String {
    let lists = served.directories.iter();
    lists.map(|list| format!("{list}\n")).collect()
}

pub fn list(list: &str, numbered: bool, served: &Served) -> String {
    let name = list.trim_end_matches('/');
    let Some(directory) = served.directories.get(name) else {
        return "didn't find the specified filename\n".to_owned();
    };
    let inside = |path: &&String| served.directory_of(path) == Some(directory);
    let mut text = format!("# {name}\n");
    for path in served.files.iter().filter(inside) {
        text += path;
        // Files of a directory stand in no line.
        text += if numbered { ":0\n" } else { "\n" };
    }
    text
}

/// Files of a directory are served as long as they are there, and a key that is thrown away is gone for good.
pub fn delete_from_list(list: &str, path: &str, served: &Served) -> String {
    let cannot = |why: String| format!("Can't delete the entry: {why}!\n");
    let name = list.trim_end_matches('/');
    match served.directories.contains(name) {
        false => cannot(format!("crt-list '{list}' does not exist")),
        true if !served.files.contains(path) => {
            cannot(format!("certificate '{path}' does not exist"))
        }
        true => super::not_done(&format!(
            "every certificate in {name} is served; remove the file {path}, and it is served no more a few seconds later"
        )),
    }
}

#[cfg(test)]
mod tests;
