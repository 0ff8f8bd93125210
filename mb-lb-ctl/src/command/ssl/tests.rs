use super::*;

const SITE: &str = "/etc/ssl/site.pem";
const NEW: &str = "/etc/ssl/dir/new.pem";

fn served() -> Served {
    Served {
        directories: BTreeSet::from(["/etc/ssl/dir".to_owned()]),
        files: [SITE, "/etc/ssl/dir/a.pem"].map(str::to_owned).into(),
    }
}

fn pem(text: &str) -> Pem {
    Zeroizing::new(text.to_owned())
}

#[test]
fn a_transaction_goes_from_set_to_commit() {
    let served = served();
    let mut store = Store::new(&served);
    let set =
        |store: &mut Store, path: &str, good| store.set(path.to_owned(), pem("new"), &served, good);
    assert_eq!(
        set(&mut store, "/other.pem", true),
        "Can't replace a certificate which is not referenced by the configuration!\nCan't update /other.pem!\n"
    );
    assert_eq!(
        set(&mut store, SITE, false),
        "unable to load certificate from file '/etc/ssl/site.pem'.\nCan't load the payload\nCan't update /etc/ssl/site.pem!\n"
    );
    assert_eq!(
        store.commit(SITE, &served).unwrap_err(),
        "No ongoing transaction! !\nCan't commit /etc/ssl/site.pem!\n"
    );
    assert_eq!(
        set(&mut store, SITE, true),
        "Transaction created for certificate /etc/ssl/site.pem!\n"
    );
    assert_eq!(
        set(&mut store, SITE, true),
        "Transaction updated for certificate /etc/ssl/site.pem!\n"
    );
    // Unlike HAProxy 2.6, which puts it into the other one.
    assert!(
        set(&mut store, "/etc/ssl/dir/a.pem", true)
            .starts_with("The ongoing transaction is about '/etc/ssl/site.pem' but")
    );
    assert_eq!(
        store.show(&served),
        "# transaction\n*/etc/ssl/site.pem\n# filename\n/etc/ssl/dir/a.pem\n/etc/ssl/site.pem\n"
    );
    assert_eq!(
        store.find("*/etc/ssl/site.pem", &served),
        Found::Unused(pem("new"))
    );
    assert_eq!(store.find(SITE, &served), Found::Used);
    assert!(store.commit("/x", &served).is_err());
    let commit = store.commit(SITE, &served).unwrap();
    assert_eq!((commit.pem, commit.is_served), (pem("new"), true));
    store.committed(SITE);
    assert_eq!(store.abort(SITE), "No ongoing transaction!\n");
    set(&mut store, SITE, true);
    assert!(
        store
            .abort("/x")
            .contains("trying to abort a transaction for '/x'")
    );
    assert_eq!(
        store.abort(SITE),
        "Transaction aborted for certificate '/etc/ssl/site.pem'!\n"
    );
}

#[test]
fn a_new_certificate_comes_into_its_directory() {
    let mut served = served();
    let mut store = Store::new(&served);
    assert_eq!(
        store.create(SITE.to_owned(), &served),
        "Certificate '/etc/ssl/site.pem' already exists!\n"
    );
    assert_eq!(
        store.create(NEW.to_owned(), &served),
        "New empty certificate store '/etc/ssl/dir/new.pem'!\n"
    );
    assert!(
        store
            .create(NEW.to_owned(), &served)
            .contains("already exists")
    );
    assert_eq!(store.find(NEW, &served), Found::Empty);
    assert_eq!(
        store.add("/etc/ssl/dir", NEW, &served).unwrap_err(),
        "Can't edit the crt-list: certificate '/etc/ssl/dir/new.pem' is empty!\n"
    );
    store.set(NEW.to_owned(), pem("new"), &served, true);
    assert!(store.delete(NEW, &served).contains("ongoing transaction"));
    assert!(!store.commit(NEW, &served).unwrap().is_served);
    store.committed(NEW);
    assert_eq!(store.find(NEW, &served), Found::Unused(pem("new")));
    assert_eq!(
        store.add("/etc/ssl", NEW, &served).unwrap_err(),
        "Can't edit the crt-list: crt-list '/etc/ssl' does not exist!\n"
    );
    assert_eq!(
        store.add("/etc/ssl/dir/", NEW, &served),
        Ok(Some(pem("new")))
    );
    // Whoever had written the file before finds it served already.
    served.files.insert(NEW.to_owned());
    assert_eq!(store.add("/etc/ssl/dir", NEW, &served), Ok(None));
    assert_eq!(
        store.added("/etc/ssl/dir", NEW),
        "Inserting certificate '/etc/ssl/dir/new.pem' in crt-list '/etc/ssl/dir'.\nSuccess!\n"
    );
    assert_eq!(
        store.add("/etc/ssl/dir", NEW, &served).unwrap_err(),
        "Can't edit the crt-list: file already exists in this directory!\n"
    );
    assert!(
        store
            .delete(NEW, &served)
            .contains("in use, can't be deleted!\n\n")
    );
}

#[test]
fn a_file_that_nobody_was_told_of_may_be_made_anew() {
    let mut served = served();
    let mut store = Store::new(&served);
    served.files.insert(NEW.to_owned());
    assert!(
        store
            .create(NEW.to_owned(), &served)
            .starts_with("New empty")
    );
    store.delete(NEW, &served);
    let mut store = Store::new(&Served::default());
    store.show(&served);
    assert!(
        store
            .create(NEW.to_owned(), &served)
            .contains("already exists")
    );
}

#[test]
fn what_is_missing_is_said_as_haproxy_says_it() {
    let cases = [
        (
            "set ssl cert",
            "'set ssl cert expects a filename and a certificate as a payload\n",
        ),
        (
            "set ssl cert x",
            "'set ssl cert expects a filename and a certificate as a payload\n",
        ),
        ("commit ssl cert", "'commit ssl cert expects a filename\n"),
        ("abort ssl cert", "'abort ssl cert' expects a filename\n"),
        ("new ssl cert", "'new ssl cert' expects a filename\n"),
        (
            "del ssl cert",
            "'del ssl cert' expects a certificate name\n",
        ),
        (
            "add ssl crt-list",
            "'add ssl crtlist' expects a filename and a certificate name\n",
        ),
        (
            "add ssl crt-list x",
            "'add ssl crtlist' expects a filename and a certificate name\n",
        ),
        (
            "del ssl crt-list x",
            "'del ssl crtlist' expects a filename and a certificate name\n",
        ),
        (
            "show ssl crt-list -n",
            "'show ssl crt-list -n' expects a filename or a directory\n",
        ),
    ];
    for (command, text) in cases {
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(
            Ssl::parse(&words, None),
            Some(Err(text.to_owned())),
            "{command}"
        );
    }
    assert_eq!(Ssl::parse(&["show", "ssl", "ca-file"], None), None);
    let served = served();
    assert_eq!(lists(&served), "/etc/ssl/dir\n");
    assert_eq!(
        list("/etc/ssl/dir", true, &served),
        "# /etc/ssl/dir\n/etc/ssl/dir/a.pem:0\n"
    );
    assert_eq!(
        list("/x", false, &served),
        "didn't find the specified filename\n"
    );
    assert!(delete_from_list("/x", "y", &served).contains("crt-list '/x' does not exist!"));
}
