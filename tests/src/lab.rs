//! The network: made by [`Lab::new`], removed when the [`Lab`] goes, however that happens.

pub(crate) mod keeper;
pub(crate) mod netns;
mod pass;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use keeper::{Identity, Keeper};
use netns::Namespace;

/// Last part of the VIP's addresses.
const VIP: u8 = 100;
const CLIENT: u8 = 10;
const FIRST_DIRECTOR: u8 = 2;
/// More servers than this live as further addresses on these (see [`Machine::add_addresses`]).
const MAX_SERVERS: u8 = 20;

const SWITCH: &str = "switch";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How many machines of a kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// 1 or 2: `lb1`, `lb2`.
    pub directors: u8,
    /// 1 to 20: `mb1`, `mb2`, ...
    pub servers: u8,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            directors: 1,
            servers: 3,
        }
    }
}

impl Topology {
    /// Names and last parts of the addresses, in the order client, directors, servers.
    fn machines(self) -> Vec<(String, u8)> {
        let mut machines = vec![("client".to_owned(), CLIENT)];
        machines.extend((1..=self.directors).map(|n| (format!("lb{n}"), FIRST_DIRECTOR + n - 1)));
        machines.extend((1..=self.servers).map(|n| (format!("mb{n}"), VIP + n)));
        machines
    }
}

/// A running lab network. Dropping it removes everything that is in it.
#[derive(Debug)]
pub struct Lab {
    identity: Identity,
    topology: Topology,
    machines: Vec<Machine>,
    /// `None`: the lab stays when this goes.
    keeper: Option<Keeper>,
}

impl Lab {
    /// One client, one director, three servers.
    ///
    /// # Errors
    /// Not root, `ip` or `ethtool` missing, or a kernel without namespaces, veth, bridge or XDP.
    pub fn new(name: &str) -> Result<Self> {
        Self::with(name, Topology::default())
    }

    /// # Errors
    /// As [`Lab::new`], and for a topology out of bounds.
    pub fn with(name: &str, topology: Topology) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces: run it as root (`cargo xtask test`, `cargo xtask lab`)"
        );
        ensure!(
            (1..=2).contains(&topology.directors) && (1..=MAX_SERVERS).contains(&topology.servers),
            "a lab has 1 or 2 directors and 1 to {MAX_SERVERS} servers, not {topology:?}"
        );
        Self::clean_leftovers()?;
        let identity = Identity::new(NUMBER.fetch_add(1, Ordering::Relaxed), name);
        keeper::claim(&identity)?;
        // From here on, an error drops the lab and so removes what there is of it.
        let mut lab = Self {
            keeper: Some(Keeper::start(&identity)?),
            identity,
            topology,
            machines: Vec::new(),
        };
        lab.mount_bpf()?;
        lab.machines = lab.make_machines()?;
        lab.wire()?;
        Ok(lab)
    }

    /// A lab that another process has left standing with [`Lab::detach`]. Dropping it leaves it standing.
    ///
    /// # Errors
    /// There is none (any more).
    pub fn attach(directory: &Path) -> Result<Self> {
        let identity = directory
            .file_name()
            .and_then(|name| Identity::parse(name.to_str()?))
            .with_context(|| format!("{} is no lab", directory.display()))?;
        let path = directory.join(TOPOLOGY);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let topology: Topology = serde_json::from_str(&text)
            .with_context(|| format!("cannot understand {}", path.display()))?;
        let machines = topology
            .machines()
            .into_iter()
            .map(|(name, host)| {
                let namespace = Namespace::open(&identity.namespace(&name))?;
                let directory = directory.join(&name);
                Ok(Machine::new(&name, host, namespace, directory))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            identity,
            topology,
            machines,
            keeper: None,
        })
    }

    /// Leaves the lab standing, and returns its directory for [`Lab::attach`].
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn detach(mut self) -> Result<PathBuf> {
        let topology = serde_json::to_string(&self.topology).context("cannot write as JSON")?;
        fs::write(self.dir().join(TOPOLOGY), topology).context("cannot write the topology")?;
        if let Some(keeper) = self.keeper.take() {
            keeper.call_off(&self.identity)?;
        }
        Ok(self.dir())
    }

    /// Removes the lab now, and says whether that worked.
    ///
    /// # Errors
    /// Something is left.
    pub fn down(mut self) -> Result<()> {
        match self.keeper.take() {
            Some(keeper) => keeper.remove(),
            None => keeper::remove_detached(&self.identity),
        }
    }

    /// Removes labs whose process is gone and whose keeper could not do it. Detached labs stay.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clean_leftovers() -> Result<()> {
        for identity in keeper::leftovers() {
            keeper::remove_detached(&identity).with_context(|| {
                format!("a lab that was left: {}", identity.directory().display())
            })?;
        }
        Ok(())
    }

    /// # Panics
    /// There is no machine of that name.
    #[track_caller]
    pub fn machine(&self, name: &str) -> &Machine {
        self.find(name).unwrap_or_else(|| {
            panic!(
                "no machine {name} in the lab; there are {}",
                self.names().join(", ")
            )
        })
    }

    pub fn find(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name() == name)
    }

    /// Names of all machines, in the order client, directors, servers.
    pub fn names(&self) -> Vec<&str> {
        self.machines.iter().map(Machine::name).collect()
    }

    pub fn client(&self) -> &Machine {
        self.machine("client")
    }

    pub fn directors(&self) -> &[Machine] {
        &self.machines[1..1 + usize::from(self.topology.directors)]
    }

    pub fn servers(&self) -> &[Machine] {
        &self.machines[1 + usize::from(self.topology.directors)..]
    }

    pub fn vip4(&self) -> Ipv4Addr {
        machine::ipv4(VIP)
    }

    pub fn vip6(&self) -> Ipv6Addr {
        machine::ipv6(VIP)
    }

    /// `10.77.0.100:25`
    pub fn smtp4(&self) -> SocketAddr {
        (self.vip4(), 25).into()
    }

    /// `[fd77::100]:25`
    pub fn smtp6(&self) -> SocketAddr {
        (self.vip6(), 25).into()
    }

    /// Puts a further VIP where the first is: on `eth0` of `lb1` and on `lo` of every server.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn add_vip(&self, vip: IpAddr) -> Result<()> {
        let host = (vip, if vip.is_ipv4() { 32 } else { 128 });
        self.machine("lb1").add_addresses("eth0", [host])?;
        for server in self.servers() {
            server.add_addresses("lo", [host])?;
        }
        Ok(())
    }

    /// For sockets, state and logs; goes with the lab. Each machine has its own inside ([`Machine::directory`]).
    pub fn dir(&self) -> PathBuf {
        self.identity.directory()
    }

    /// A directory for a director's pins, in a BPF file system of this lab's own.
    pub fn bpf_root(&self, director: &str) -> PathBuf {
        self.dir().join("bpf").join(director)
    }

    /// Takes the network card out of `lb1` or `lb2` and puts another in: the same name and addresses but for the
    /// VIPs, another interface index, and `mac`.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn replace_card(&self, director: &str, mac: [u8; 6]) -> Result<()> {
        let machine = self.machine(director);
        let switch = self.switch()?;
        machine.ip_batch("link del eth0\n")?;
        switch.ip_batch(&format!(
            "link add {director} type veth peer name eth0 address {} netns {}\n\
             link set {director} master br0 up\n",
            mac_text(mac),
            machine.namespace()
        ))?;
        plug_in(&switch, machine)?;
        let pins = self.dir().join("bpf").join(SWITCH);
        let old = pins.join(director);
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        switch.enter(|| pass::attach(&[director.to_owned()], &pins))
    }

    /// Puts an XDP program that is not mb-lb's on `eth0` of a director, until [`Lab::vacate`].
    ///
    /// # Errors
    /// There is one already.
    pub fn occupy(&self, director: &str) -> Result<()> {
        let pins = self.dir().join("bpf").join(SWITCH);
        let port = ["eth0".to_owned()];
        self.machine(director).enter(|| pass::attach(&port, &pins))
    }

    /// # Errors
    /// No director was occupied.
    pub fn vacate(&self) -> Result<()> {
        let pin = self.dir().join("bpf").join(SWITCH).join("eth0");
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))
    }

    /// The switch lets no frame of one machine reach another one, until [`Lab::mend`]. All others hear it as before.
    ///
    /// # Errors
    /// `nft` refuses (package nftables).
    pub fn cut(&self, from: &str, to: &str) -> Result<()> {
        let mac = mac_text(self.machine(from).mac());
        let rules = format!(
            "table netdev {from}_{to} {{ chain out {{ type filter hook egress device \"{to}\" priority 0; \
             ether saddr {mac} drop; }}; }}"
        );
        self.switch()?.run("nft", &[&rules]).map(drop)
    }

    /// # Errors
    /// It was not cut.
    pub fn mend(&self, from: &str, to: &str) -> Result<()> {
        let table = format!("{from}_{to}");
        let arguments = ["delete", "table", "netdev", &table];
        self.switch()?.run("nft", &arguments).map(drop)
    }

    /// Cuts a machine off at the switch, or joins it again. Its own end of the cable stays up, so it does not see that.
    ///
    /// # Errors
    /// There is no such machine, or `ip` refuses.
    pub fn set_port(&self, machine: &str, joined: bool) -> Result<()> {
        let how: &[&str] = if joined {
            &["master", "br0"]
        } else {
            &["nomaster"]
        };
        let mut arguments = vec!["link", "set", machine];
        arguments.extend(how);
        self.switch()?.run("ip", &arguments).map(drop)
    }

    fn switch(&self) -> Result<Machine> {
        let namespace = Namespace::open(&self.identity.namespace(SWITCH))?;
        Ok(Machine::new(SWITCH, 0, namespace, self.dir().join(SWITCH)))
    }

    fn mount_bpf(&self) -> Result<()> {
        let target = self.dir().join("bpf");
        let make = |path: &Path| {
            fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))
        };
        make(&target)?;
        nix::mount::mount(
            Some("bpf"),
            &target,
            Some("bpf"),
            MsFlags::empty(),
            Some("mode=0700"),
        )
        .with_context(|| format!("cannot mount a BPF file system at {}", target.display()))?;
        make(&target.join(SWITCH))?;
        (1..=self.topology.directors).try_for_each(|n| make(&self.bpf_root(&format!("lb{n}"))))
    }

    fn make_machines(&self) -> Result<Vec<Machine>> {
        self.topology
            .machines()
            .into_iter()
            .map(|(name, host)| self.make_machine(&name, host))
            .collect()
    }

    fn make_machine(&self, name: &str, host: u8) -> Result<Machine> {
        let namespace = Namespace::create(&self.identity.namespace(name))?;
        let directory = self.dir().join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let machine = Machine::new(name, host, namespace, directory);
        // What is not yet there takes `default`, so this comes before the interfaces.
        for (key, value) in [
            ("ipv6.conf.default.accept_dad", "0"),
            ("ipv6.conf.default.accept_ra", "0"),
            ("ipv6.conf.default.router_solicitations", "0"),
            ("ipv4.conf.all.rp_filter", "0"),
            ("ipv4.conf.default.rp_filter", "0"),
            ("ipv4.tcp_max_syn_backlog", "8192"),
        ] {
            machine.sysctl(key, value)?;
        }
        Ok(machine)
    }

    /// Bridge, cables, addresses, offloads.
    fn wire(&self) -> Result<()> {
        let switch = self.make_machine(SWITCH, 0)?;
        // A switch looks at no IP header. Where the kernel has br_netfilter, it would drop what is malformed.
        for key in ["iptables", "ip6tables", "arptables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{key}");
            if Path::new(&path).exists() {
                switch.sysctl(&format!("bridge.bridge-nf-call-{key}"), "0")?;
            }
        }
        let mut cables = String::from(
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 up\n",
        );
        for machine in &self.machines {
            let port = machine.name();
            writeln!(
                cables,
                "link add {port} type veth peer name eth0 address {} netns {}\n\
                 link set {port} master br0 up",
                mac_text(machine.mac()),
                machine.namespace()
            )
            .context("cannot write to a string")?;
        }
        switch.ip_batch(&cables)?;
        for machine in &self.machines {
            plug_in(&switch, machine)?;
        }
        // Room for 50,000 connections without waiting for TIME_WAIT.
        self.client()
            .sysctl("ipv4.ip_local_port_range", "1024 65535")?;
        for server in self.servers() {
            server.sysctl("ipv4.conf.all.arp_ignore", "1")?;
            server.sysctl("ipv4.conf.all.arp_announce", "2")?;
        }
        self.add_vip(self.vip4().into())?;
        self.add_vip(self.vip6().into())?;
        let ports: Vec<_> = self
            .directors()
            .iter()
            .map(|director| director.name().to_owned())
            .collect();
        let pins = self.dir().join("bpf").join(SWITCH);
        switch.enter(|| pass::attach(&ports, &pins))
    }
}

/// File in the directory of a detached lab.
const TOPOLOGY: &str = "topology.json";

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take()
            && let Err(error) = keeper.remove()
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Sets up both ends of a machine's cable.
fn plug_in(switch: &Machine, machine: &Machine) -> Result<()> {
    no_offload(switch, machine.name())?;
    no_offload(machine, "eth0")?;
    machine.ip_batch("link set lo up\nlink set eth0 up\n")?;
    machine.add_addresses(
        "eth0",
        [(machine.ipv4().into(), 16), (machine.ipv6().into(), 64)],
    )
}

/// Checksums are made where the frame is made, and a frame is a packet: XDP sees what a wire would carry.
fn no_offload(machine: &Machine, device: &str) -> Result<()> {
    let arguments = [
        "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
    ];
    machine.run("ethtool", &arguments).map(drop)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
