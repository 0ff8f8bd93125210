//! Which interfaces carry an XDP program, whoever attached it.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

use super::Error;
use super::kernel::{Kernel, ask};

/// Name of the interface to the program's number. An interface with a program for each of several modes has the
/// first.
///
/// # Errors
/// The kernel could not be asked.
pub async fn xdp_programs() -> Result<BTreeMap<String, u32>, Error> {
    let kernel = Kernel::open()?;
    let messages = kernel.handle.link().get().execute();
    let messages: Vec<_> = ask("the links", messages.try_collect()).await?;
    Ok(messages.iter().filter_map(program).collect())
}

fn program(message: &LinkMessage) -> Option<(String, u32)> {
    let name = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    let xdp = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        })?;
    let number = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => (*id != 0).then_some(*id),
        _ => None,
    })?;
    Some((name, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(xdp: Option<Vec<LinkXdp>>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName("eth0".to_owned()));
        message.attributes.extend(xdp.map(LinkAttribute::Xdp));
        message
    }

    #[test]
    fn only_a_number_is_a_program() {
        let found = |number| Some(("eth0".to_owned(), number));
        for (xdp, expected) in [
            (None, None),
            (Some(vec![LinkXdp::Flags(0)]), None),
            (Some(vec![LinkXdp::ProgId(0)]), None),
            (Some(vec![LinkXdp::ProgId(7)]), found(7)),
            (
                Some(vec![LinkXdp::SkbProgId(8), LinkXdp::DrvProgId(9)]),
                found(8),
            ),
        ] {
            assert_eq!(program(&link(xdp)), expected);
        }
    }
}
