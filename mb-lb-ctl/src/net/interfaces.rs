//! The interfaces that matter: by name, and those that the VIPs' packets come in on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep_until};

use super::Error;
use super::kernel::{Address, Changes, Kernel, Link, Links, Route};
use crate::config::Config;

/// What a lost notification hid is found after this long.
const READ_EVERY: Duration = Duration::from_secs(30);

/// An Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mac: [u8; 6],
    /// Bytes.
    pub mtu: u32,
    /// Administratively up and with a carrier.
    pub up: bool,
}

/// The interface of that name.
///
/// # Errors
/// [`Error::NoSuchInterface`], [`Error::NotEthernet`], or the kernel could not be asked.
pub async fn interface(name: &str) -> Result<Interface, Error> {
    let links = Kernel::open()?.links().await?;
    let link = links.values().find(|link| link.name == name);
    ethernet(link.ok_or_else(|| Error::NoSuchInterface(name.to_owned()))?)
}

/// The interfaces that the routes of VIPs lead to, each once, in the order of their indices. A VIP that this
/// host has already counts to the interface that has it; where that is the loopback, to the one whose subnet
/// contains it.
///
/// # Errors
/// [`Error::NoRoute`] for the first VIP that no interface follows from, [`Error::NotEthernet`], or the kernel
/// could not be asked.
pub async fn interfaces_for(vips: &[IpAddr]) -> Result<Vec<Interface>, Error> {
    let kernel = Kernel::open()?;
    let links = kernel.links().await?;
    let addresses = kernel.addresses().await?;
    let mut found = BTreeMap::new();
    for vip in vips {
        let index = match kernel.route(*vip).await? {
            Route::Direct { ifindex } => Some(ifindex),
            Route::Local => holder(*vip, &links, &addresses),
            // By way of a router says nothing of where its packets will come in.
            Route::Via { .. } | Route::None => None,
        };
        let link = index.and_then(|index| links.get(&index));
        let interface = ethernet(link.ok_or(Error::NoRoute(*vip))?)?;
        found.insert(interface.index, interface);
    }
    Ok(found.into_values().collect())
}

/// The interfaces that the configuration names, or those that the VIPs' routes lead to; with it, what could not be had.
pub async fn wanted_interfaces(config: &Config) -> (Vec<Interface>, Option<String>) {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut errors = Vec::new();
    if config.director.interfaces.is_empty() {
        let vips: Vec<_> = config
            .services
            .iter()
            .filter(|service| service.forward.is_in_kernel())
            .flat_map(|service| service.listen.iter().map(std::net::SocketAddr::ip))
            .collect();
        // One by one: a VIP without a route must not take the others with it.
        for vip in vips {
            match interfaces_for(&[vip]).await {
                Ok(found) => interfaces.extend(found),
                Err(error) => errors.push(format!(
                    "no interface for the VIP {vip}: {error}; set director.interfaces"
                )),
            }
        }
        interfaces.sort_by_key(|interface| interface.index);
        interfaces.dedup_by_key(|interface| interface.index);
        return (interfaces, (!errors.is_empty()).then(|| errors.join("; ")));
    }
    for name in &config.director.interfaces {
        match interface(name).await {
            Ok(interface) => interfaces.push(interface),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (interfaces, (!errors.is_empty()).then(|| errors.join("; ")))
}

/// Follows the interfaces of these names. The map holds those that exist as Ethernet interfaces; it changes
/// when one appears, vanishes, or gets another index, MAC address, MTU or state. The task ends when all
/// receivers are gone. To be called within a tokio runtime.
///
/// # Errors
/// The kernel could not be asked.
pub async fn watch_interfaces(
    names: Vec<String>,
) -> Result<
    (
        watch::Receiver<BTreeMap<String, Interface>>,
        JoinHandle<Result<(), Error>>,
    ),
    Error,
> {
    let changes = Changes::of_links()?;
    let kernel = Kernel::open()?;
    let (sender, receiver) = watch::channel(read(&kernel, &names).await?);
    let task = tokio::spawn(follow(kernel, changes, names, sender));
    Ok((receiver, task))
}

async fn follow(
    kernel: Kernel,
    mut changes: Changes,
    names: Vec<String>,
    sender: watch::Sender<BTreeMap<String, Interface>>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            change = changes.next() => { change?; }
            () = sleep_until(Instant::now() + READ_EVERY) => {}
            () = sender.closed() => return Ok(()),
        }
        match read(&kernel, &names).await {
            Ok(now) => {
                sender.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
            }
            Err(error @ Error::Ended) => return Err(error),
            Err(error) => tracing::warn!(%error, "interfaces not read, what was known stays"),
        }
    }
}

async fn read(kernel: &Kernel, names: &[String]) -> Result<BTreeMap<String, Interface>, Error> {
    let links = kernel.links().await?;
    let wanted = links.values().filter(|link| names.contains(&link.name));
    Ok(wanted
        .filter_map(|link| Some((link.name.clone(), ethernet(link).ok()?)))
        .collect())
}

fn ethernet(link: &Link) -> Result<Interface, Error> {
    let mac = link
        .mac
        .ok_or_else(|| Error::NotEthernet(link.name.clone()))?;
    Ok(Interface {
        name: link.name.clone(),
        index: link.index,
        mac,
        mtu: link.mtu,
        up: link.up,
    })
}

/// The interface that a local address belongs to: the one that has it, else the one with the longest prefix
/// that contains it; never the loopback.
fn holder(vip: IpAddr, links: &Links, addresses: &[Address]) -> Option<u32> {
    let outside = |own: &&Address| links.get(&own.ifindex).is_some_and(|link| !link.loopback);
    let candidates = addresses
        .iter()
        .filter(outside)
        .filter(|own| own.covers(vip));
    let best = candidates.max_by_key(|own| (own.address == vip, own.prefix))?;
    Some(best.ifindex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, loopback: bool) -> (u32, Link) {
        let link = Link {
            index,
            name: format!("if{index}"),
            mac: None,
            mtu: 1500,
            up: true,
            loopback,
        };
        (index, link)
    }

    fn own(ifindex: u32, address: &str, prefix: u8) -> Address {
        Address {
            ifindex,
            address: address.parse().unwrap(),
            prefix,
        }
    }

    #[test]
    fn local_vip_belongs_to_the_interface_that_has_it_or_its_subnet() {
        let links = Links::from([link(1, true), link(2, false), link(3, false)]);
        let addresses = [
            own(1, "127.0.0.1", 8),
            own(1, "10.0.0.100", 32),
            own(1, "10.9.9.9", 32),
            own(2, "10.0.0.1", 24),
            own(3, "10.0.0.200", 32),
            own(3, "10.0.0.129", 25),
            own(3, "fd00::1", 64),
        ];
        for (vip, interface) in [
            ("10.0.0.100", Some(2)),
            ("10.0.0.200", Some(3)),
            ("10.0.0.201", Some(3)),
            ("10.9.9.9", None),
            ("127.0.0.1", None),
            ("fd00::100", Some(3)),
            ("fd01::100", None),
        ] {
            let found = holder(vip.parse().unwrap(), &links, &addresses);
            assert_eq!(found, interface, "{vip}");
        }
    }
}
