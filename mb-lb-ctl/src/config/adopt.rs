//! The peer's configuration on this director: all of it, but what makes this director the one that it is.

use toml_edit::{DocumentMut, Item, TableLike};

/// Sections that stay as they are here.
const OWN: [&str; 3] = ["director", "admin", "peer"];
/// Keys of `[vrrp.NAME]` that stay as they are here.
const OWN_OF_VRRP: [&str; 5] = [
    "priority",
    "interface",
    "source_address",
    "unicast_peers",
    "track_interfaces",
];

/// A file that is no TOML.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("what the peer sent is no TOML: {0}")]
    Theirs(toml_edit::TomlError),
    #[error("its own file is no TOML: {0}")]
    Own(toml_edit::TomlError),
    #[error(
        "it has no [vrrp.{0}]: write it there first, with that director's own priority and interface"
    )]
    NewInstance(String),
}

/// `theirs`, with comments and order, and in it what is `own`.
///
/// # Errors
/// One of the two is no TOML. Whether the result is a good configuration is not looked at.
pub fn adopt(own: &str, theirs: &str) -> Result<String, AdoptError> {
    let mut merged: DocumentMut = theirs.parse().map_err(AdoptError::Theirs)?;
    let own: DocumentMut = own.parse().map_err(AdoptError::Own)?;
    for section in OWN {
        put(merged.as_table_mut(), section, own.get(section));
    }
    let own_routers = own.get("vrrp").and_then(Item::as_table_like);
    let routers = merged.get_mut("vrrp").and_then(Item::as_table_like_mut);
    let own = own_routers;
    if let Some(routers) = routers {
        for (name, router) in routers.iter_mut() {
            let own = own.and_then(|own| own.get(name.get())?.as_table_like());
            // What is its own cannot be guessed: with the peer's priority and peers there would be two owners.
            let Some(own) = own else {
                return Err(AdoptError::NewInstance(name.get().to_owned()));
            };
            let Some(router) = router.as_table_like_mut() else {
                continue;
            };
            for key in OWN_OF_VRRP {
                put(router, key, own.get(key));
            }
        }
    }
    Ok(merged.to_string())
}

fn put(table: &mut dyn TableLike, key: &str, own: Option<&Item>) {
    match own {
        Some(item) => {
            let mut item = item.clone();
            // The place in the file, and the comments above it, stay those of the peer's.
            if let (Some(own), Some(theirs)) =
                (item.as_table_mut(), table.get(key).and_then(Item::as_table))
            {
                *own.decor_mut() = theirs.decor().clone();
                own.set_position(theirs.position());
            }
            table.insert(key, item);
        }
        None => {
            table.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ones_own_stays_and_the_rest_is_the_peers() {
        let own = "[director]\nname = \"lb2\"\n\n[peer]\nlisten = \"10.0.0.2:1\"\n\n[vrrp.VI_1]\ninterface = \"ens3\"\npriority = 100\n\
                   advert_interval = \"1s\"\n\n[service.old]\nlisten = \"10.0.0.9:25\"\n";
        let theirs = "# Both of them\n[director]\nname = \"lb1\"\nxdp = \"generic\"\n\n[admin]\nsocket = \"/x\"\n\n[vrrp.VI_1]\ninterface = \"eth0\"\n\
                      priority = 101\nadvert_interval = \"2s\" # slow\nunicast_peers = [\"10.0.0.2\"]\n\n\
                      [service.new]\nlisten = \"10.0.0.9:25\"\n\n[peer]\nlisten = \"10.0.0.1:1\"\n";
        let merged = adopt(own, theirs).expect("both are TOML");
        let table: toml::Table = merged.parse().expect("TOML");
        assert_eq!(table["director"]["name"].as_str(), Some("lb2"));
        assert!(table["director"].get("xdp").is_none());
        assert!(!table.contains_key("admin"));
        assert_eq!(table["peer"]["listen"].as_str(), Some("10.0.0.2:1"));
        let router = &table["vrrp"]["VI_1"];
        assert_eq!(router["interface"].as_str(), Some("ens3"));
        assert_eq!(router["priority"].as_integer(), Some(100));
        assert_eq!(router["advert_interval"].as_str(), Some("2s"));
        assert!(router.get("unicast_peers").is_none());
        assert!(table["service"].get("new").is_some() && table["service"].get("old").is_none());
        assert!(merged.contains("# Both of them") && merged.contains("# slow"));
        assert_eq!(adopt(own, &merged).expect("TOML"), merged);
    }

    #[test]
    fn an_instance_that_is_new_here_is_not_taken_over() {
        let theirs = "[vrrp.VI_1]\npriority = 101\n[vrrp.VI_2]\npriority = 101\n";
        for own in ["[vrrp.VI_1]\npriority = 100\n", ""] {
            let error = adopt(own, theirs).expect_err("new here");
            assert!(matches!(error, AdoptError::NewInstance(_)), "{error}");
        }
    }

    #[test]
    fn what_is_no_toml_is_said_to_be_none() {
        let error = adopt("", "= 1").expect_err("no TOML");
        assert!(matches!(error, AdoptError::Theirs(_)), "{error}");
        let error = adopt("[", "").expect_err("no TOML");
        assert!(matches!(error, AdoptError::Own(_)), "{error}");
    }
}
