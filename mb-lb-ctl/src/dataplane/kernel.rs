//! The pinned maps as an [`Image`]: reads it back, and does to them what a plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use mb_lb_common::{
    AliasEntry, MAX_ALIAS, MAX_LISTENS, MAX_PORTS, MAX_SERVERS, MAX_SERVICES, MAX_SLOT_BLOCKS,
    POOL_SMALL, Pool, Port, SERVER_PRESENT, SLOTS_PER_BLOCK, Server, ServerCount, Service,
    ServiceConf, ServiceKey, Settings, SlotBlock, SmallEntry, maps,
};

use super::arena::Arena;
use super::sys::{self, Table};
use crate::plan::{Image, Op, ServiceImage};
use crate::schedule::Tables;

/// The maps that the controller writes.
#[derive(Debug)]
pub struct Kernel {
    settings: Table<u32, Settings>,
    ports: Table<u32, Port>,
    services: Table<ServiceKey, Service>,
    confs: Table<u32, ServiceConf>,
    pools: Table<u32, Pool>,
    alias: Table<u32, AliasEntry>,
    slots: Table<u32, SlotBlock>,
    servers: Table<u32, Server>,
    pub(super) counts: Table<u32, ServerCount>,
    alias_arena: Arena,
    slot_arena: Arena,
    /// What each pool holds of the arenas: from here it is freed, not from what a damaged map says.
    regions: BTreeMap<u32, Regions>,
    /// Services whose pool that is not active may still be read.
    flipped: BTreeSet<u32>,
}

/// Start and length in the arenas.
#[derive(Clone, Copy, Debug, Default)]
struct Regions {
    alias: (u32, u32),
    sequence: (u32, u32),
    maglev: (u32, u32),
}

impl Regions {
    const fn of(pool: &Pool) -> Self {
        Self {
            alias: (pool.alias, pool.alias_len),
            sequence: (pool.sequence, blocks(pool.sequence_len)),
            maglev: (pool.maglev, blocks(pool.maglev_len)),
        }
    }

    /// They lie inside the maps.
    fn are_sane(&self) -> bool {
        let inside = |(start, len): (u32, u32), size: u32| {
            start.checked_add(len).is_some_and(|end| end <= size)
        };
        inside(self.alias, MAX_ALIAS)
            && inside(self.sequence, MAX_SLOT_BLOCKS)
            && inside(self.maglev, MAX_SLOT_BLOCKS)
    }
}

impl Kernel {
    /// Opens the maps below `pins`, and learns which parts of the arenas are in use.
    pub fn open(pins: &Path) -> io::Result<Self> {
        let mut kernel = Self {
            settings: Table::open(&pins.join(maps::SETTINGS))?,
            ports: Table::open(&pins.join(maps::PORTS))?,
            services: Table::open(&pins.join(maps::SERVICES))?,
            confs: Table::open(&pins.join(maps::SERVICE_CONFS))?,
            pools: Table::open(&pins.join(maps::POOLS))?,
            alias: Table::open(&pins.join(maps::ALIAS))?,
            slots: Table::open(&pins.join(maps::SLOTS))?,
            servers: Table::open(&pins.join(maps::SERVERS))?,
            counts: Table::open(&pins.join(maps::COUNTS))?,
            alias_arena: Arena::new(0),
            slot_arena: Arena::new(0),
            regions: BTreeMap::new(),
            flipped: (0..MAX_SERVICES).collect(),
        };
        // As large as the maps are: an earlier build may have made them.
        kernel.alias_arena = Arena::new(kernel.alias.shape()?.max_entries.min(MAX_ALIAS));
        kernel.slot_arena = Arena::new(kernel.slots.shape()?.max_entries.min(MAX_SLOT_BLOCKS));
        for index in 0..2 * MAX_SERVICES {
            let pool = kernel.pool(index)?;
            if pool.servers == 0 {
                continue;
            }
            let regions = Regions::of(&pool);
            let claimed = regions.are_sane()
                && kernel.alias_arena.claim(regions.alias.0, regions.alias.1)
                && kernel
                    .slot_arena
                    .claim(regions.sequence.0, regions.sequence.1)
                && kernel.slot_arena.claim(regions.maglev.0, regions.maglev.1);
            kernel.regions.insert(index, regions);
            if !claimed {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("pool {index} overlaps another: the pinned maps are damaged"),
                ));
            }
        }
        Ok(kernel)
    }

    pub fn set_settings(&self, settings: &Settings) -> io::Result<()> {
        self.settings.set(&0, settings)
    }

    /// Reads everything back.
    pub fn image(&self) -> io::Result<Image> {
        let mut image = Image {
            listens: self
                .services
                .entries(MAX_LISTENS as usize)?
                .into_iter()
                .collect(),
            ..Image::default()
        };
        for slot in 0..MAX_PORTS {
            if let Some(port) = self.ports.get(&slot)?.filter(|port| port.ifindex != 0) {
                image.ports.insert(slot, port);
            }
        }
        for service in 0..MAX_SERVICES {
            if let Some(found) = self.service(service)? {
                image.services.insert(service, found);
            }
        }
        for index in 0..MAX_SERVERS {
            if let Some(server) = self.server(index)? {
                image.servers.insert(index, server);
            }
        }
        Ok(image)
    }

    /// `None` where the index is free.
    pub fn server(&self, index: u32) -> io::Result<Option<Server>> {
        Ok(self
            .servers
            .get(&index)?
            .filter(|server| Server::flags_of(server.link) & SERVER_PRESENT != 0))
    }

    /// The generation that an index had last, in use or not.
    pub fn generation(&self, index: u32) -> io::Result<u32> {
        Ok(self
            .servers
            .get(&index)?
            .map_or(0, |server| server.generation))
    }

    fn pool(&self, index: u32) -> io::Result<Pool> {
        self.pools
            .get(&index)?
            .ok_or_else(|| io::Error::other(format!("pool {index} is not there")))
    }

    /// `None` where the service was never given a pool.
    fn service(&self, service: u32) -> io::Result<Option<ServiceImage>> {
        let conf = self
            .confs
            .get(&service)?
            .ok_or_else(|| io::Error::other(format!("service {service} is not there")))?;
        // Bit 31 marks a service in use: all zero is what a new map holds.
        if conf.flags & IN_USE == 0 {
            return Ok(None);
        }
        // A damaged record is a difference, which is repaired; it is not followed.
        let pool = match conf.pool {
            pool if pool / 2 == service => self.pool(pool)?,
            _ => return Ok(None),
        };
        if !Regions::of(&pool).are_sane() || pool.servers > MAX_SERVERS {
            return Ok(None);
        }
        let mut tables = Tables {
            servers: pool.servers,
            scheduler: pool.scheduler,
            capped: pool.capped != 0,
            ..Tables::default()
        };
        if pool.servers as usize <= POOL_SMALL {
            tables.small = pool.small[..pool.servers as usize].to_vec();
        }
        for i in 0..pool.alias_len {
            tables.alias.extend(self.alias.get(&(pool.alias + i))?);
        }
        tables.sequence = self.read_slots(pool.sequence, pool.sequence_len)?;
        tables.maglev = self.read_slots(pool.maglev, pool.maglev_len)?;
        Ok(Some(ServiceImage {
            flags: conf.flags & !IN_USE,
            tables,
        }))
    }

    fn read_slots(&self, first: u32, len: u32) -> io::Result<Vec<u16>> {
        let mut slots = Vec::with_capacity(len as usize);
        for block in 0..blocks(len) {
            if let Some(block) = self.slots.get(&(first + block))? {
                slots.extend(block.slots);
            }
        }
        slots.truncate(len as usize);
        Ok(slots)
    }

    fn write_slots(&self, first: u32, slots: &[u16]) -> io::Result<()> {
        for (i, chunk) in slots.chunks(SLOTS_PER_BLOCK as usize).enumerate() {
            let mut block = SlotBlock {
                slots: [0; SLOTS_PER_BLOCK as usize],
            };
            block.slots[..chunk.len()].copy_from_slice(chunk);
            self.slots.set(&(first + i as u32), &block)?;
        }
        Ok(())
    }

    /// Does one operation.
    ///
    /// # Errors
    /// The kernel's, and where an arena has no room left; what was active then stays active.
    pub fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::SetPort { slot, port } => self.ports.set(slot, port),
            Op::ResetCounts { index } => self.counts.set(index, &ServerCount::default()),
            Op::SetServer { index, server } => self.servers.set(index, server),
            Op::SwapPool { service, image } => self.swap_pool(*service, image),
            Op::SetFlags { service, flags } => {
                let conf = self.confs.get(service)?.unwrap_or(ServiceConf {
                    pool: 2 * service,
                    flags: 0,
                });
                let flags = flags | IN_USE;
                self.confs.set(service, &ServiceConf { flags, ..conf })
            }
            Op::SetListen { key, service } => self.services.set(key, service),
            Op::RemoveListen { key } => self.services.remove(key),
            Op::ClearService { service } => {
                let empty = ServiceConf {
                    pool: 2 * service,
                    flags: 0,
                };
                self.confs.set(service, &empty)?;
                self.flipped.insert(*service);
                self.wait_for_readers(*service)?;
                self.drop_pool(2 * service)?;
                self.drop_pool(2 * service + 1)
            }
            Op::ClearServer { index, generation } => {
                let mut server: Server = bytemuck::Zeroable::zeroed();
                server.generation = *generation;
                self.servers.set(index, &server)
            }
            Op::ClearPort { slot } => self.ports.set(slot, &bytemuck::Zeroable::zeroed()),
        }
    }

    /// Before the memory of a pool is written that a run of the program may still read: waits for the end of every run
    /// that began before. One wait does for all services that were flipped until then.
    fn wait_for_readers(&mut self, service: u32) -> io::Result<()> {
        if self.flipped.contains(&service) {
            sys::wait_for_readers()?;
            self.flipped.clear();
        }
        Ok(())
    }

    /// Frees what a pool that is not active holds.
    fn drop_pool(&mut self, index: u32) -> io::Result<()> {
        if let Some(old) = self.regions.remove(&index) {
            self.alias_arena.free(old.alias.0, old.alias.1);
            self.slot_arena.free(old.sequence.0, old.sequence.1);
            self.slot_arena.free(old.maglev.0, old.maglev.1);
        }
        self.pools.set(&index, &bytemuck::Zeroable::zeroed())
    }

    /// Frees what pools hold that are not active: they are kept until their service changes again, which costs nothing
    /// while there is room.
    fn drop_idle_pools(&mut self) -> io::Result<()> {
        sys::wait_for_readers()?;
        self.flipped.clear();
        for service in 0..MAX_SERVICES {
            let conf = self.confs.get(&service)?;
            let in_use = conf.filter(|conf| conf.flags & IN_USE != 0);
            for index in [2 * service, 2 * service + 1] {
                if in_use.is_none_or(|conf| conf.pool != index) && self.regions.contains_key(&index)
                {
                    self.drop_pool(index)?;
                }
            }
        }
        Ok(())
    }

    /// Places for the tables: all of them, or none.
    fn allocate(&mut self, tables: &Tables) -> io::Result<(u32, u32, u32)> {
        let sequence_blocks = blocks(tables.sequence.len() as u32);
        let maglev_blocks = blocks(tables.maglev.len() as u32);
        let alias = self.alias_arena.allocate(tables.alias.len() as u32);
        let sequence = self.slot_arena.allocate(sequence_blocks);
        let maglev = self.slot_arena.allocate(maglev_blocks);
        if let (Some(alias), Some(sequence), Some(maglev)) = (alias, sequence, maglev) {
            return Ok((alias, sequence, maglev));
        }
        if let Some(start) = alias {
            self.alias_arena.free(start, tables.alias.len() as u32);
        }
        if let Some(start) = sequence {
            self.slot_arena.free(start, sequence_blocks);
        }
        if let Some(start) = maglev {
            self.slot_arena.free(start, maglev_blocks);
        }
        Err(io::Error::other(
            "no room for the scheduling tables: too many servers in all services",
        ))
    }

    fn swap_pool(&mut self, service: u32, image: &ServiceImage) -> io::Result<()> {
        let conf = self.confs.get(&service)?;
        let next = match conf {
            Some(conf) if conf.flags & IN_USE != 0 && conf.pool == 2 * service => 2 * service + 1,
            _ => 2 * service,
        };
        self.wait_for_readers(service)?;
        self.drop_pool(next)?;
        let tables = &image.tables;
        let places = match self.allocate(tables) {
            Ok(places) => Ok(places),
            Err(_) => {
                self.drop_idle_pools()?;
                self.allocate(tables)
            }
        };
        let (alias, sequence, maglev) = places?;
        self.regions.insert(
            next,
            Regions {
                alias: (alias, tables.alias.len() as u32),
                sequence: (sequence, blocks(tables.sequence.len() as u32)),
                maglev: (maglev, blocks(tables.maglev.len() as u32)),
            },
        );
        for (i, entry) in tables.alias.iter().enumerate() {
            self.alias.set(&(alias + i as u32), entry)?;
        }
        self.write_slots(sequence, &tables.sequence)?;
        self.write_slots(maglev, &tables.maglev)?;
        let mut small = [SmallEntry::default(); POOL_SMALL];
        small[..tables.small.len()].copy_from_slice(&tables.small);
        self.pools.set(
            &next,
            &Pool {
                servers: tables.servers,
                scheduler: tables.scheduler,
                alias,
                sequence,
                sequence_len: tables.sequence.len() as u32,
                maglev,
                maglev_len: tables.maglev.len() as u32,
                alias_len: tables.alias.len() as u32,
                capped: u32::from(tables.capped),
                reserved: [0; 7],
                small,
            },
        )?;
        self.confs.set(
            &service,
            &ServiceConf {
                pool: next,
                flags: image.flags | IN_USE,
            },
        )?;
        self.flipped.insert(service);
        Ok(())
    }
}

/// Set in a service's flags by [`Kernel`] alone.
const IN_USE: u32 = 1 << 31;

const fn blocks(slots: u32) -> u32 {
    slots.div_ceil(SLOTS_PER_BLOCK)
}
