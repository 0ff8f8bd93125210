//! Storage: what the director says of servers and mounts that die, freeze, fill up and go away, while it goes on itself.

mod gluster;
mod mount;
mod nfs;
mod site;
mod strange;
