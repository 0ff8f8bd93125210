//! What tshark says of the adverts that we send.

use std::num::NonZeroU8;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::machine::Role;
use mb_lb_ctl::vrrp::packet::Coverage;
use mb_lb_tests::try_wait_until;

use crate::form::{Form, V2, V2_PASS, V2_UNICAST, V3, V3_IPV6, V3_UNICAST};
use crate::router::Router;
use crate::{SOON, lab};

/// By form: the VRID that it gets here.
const FORMS: [(u8, Form); 6] = [
    (61, V2),
    (62, V2_PASS),
    (63, V2_UNICAST),
    (64, V3),
    (65, V3_UNICAST),
    (66, V3_IPV6),
];
/// Version 3 over IPv4 with the checksum of the message alone.
const MESSAGE_ONLY: u8 = 67;
/// What tshark has to say of nothing: no dissector error, no wrong checksum, no warning.
const WRONG: &str = "_ws.malformed or vrrp.checksum.status == 0 or ip.checksum.status == 0 or _ws.expert.severity >= 6291456";

#[test]
fn tshark_finds_nothing_wrong_with_our_adverts() -> Result<()> {
    let lab = lab("tshark")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let capture = lb2.directory().join("adverts.pcapng");
    let mut command = lb2.command("tshark");
    command
        .args(["-i", "eth0", "-f", "ip proto 112 or ip6 proto 112"])
        .args(["-c", "60", "-w"])
        .arg(&capture);
    let mut tshark = lb2.spawn("tshark", &mut command)?;
    try_wait_until("tshark to listen", SOON, || {
        let errors = tshark.errors()?;
        ensure!(errors.contains("Capturing on"), "{}", tshark.tail());
        Ok(())
    })?;
    let with_vrid = |vrid, instance: Instance| -> Result<Instance> {
        let vrid = NonZeroU8::new(vrid).context("not 0")?;
        Ok(Instance { vrid, ..instance })
    };
    let mut instances = FORMS
        .into_iter()
        .map(|(vrid, form)| with_vrid(vrid, form.ours(&lab, 101)))
        .collect::<Result<Vec<_>>>()?;
    for instance in &mut instances {
        let second = if instance.is_ipv6() {
            ("fd77::200".parse()?, 64)
        } else {
            ("10.77.0.201".parse()?, 32)
        };
        instance.addresses.push(second);
    }
    let mut message_only = with_vrid(MESSAGE_ONLY, V3.ours(&lab, 101))?;
    message_only.coverage = Coverage::Message;
    instances.push(message_only);
    let routers = instances
        .iter()
        .map(|instance| Router::start(lb1, instance))
        .collect::<Result<Vec<_>>>()?;
    for router in &routers {
        router.wait_role(Role::Backup)?;
        router.wait_role(Role::Active)?;
    }
    // With the last words.
    for router in routers {
        router.leave()?;
    }
    if tshark.exited()?.is_none() {
        tshark.signal(nix::sys::signal::Signal::SIGINT)?;
        tshark.wait(SOON)?;
    }
    let read = |filter: &str, message_only: bool| {
        let capture = capture.display().to_string();
        let form = format!(
            "vrrp.v3_checksum_as_in_v2:{}",
            if message_only { "TRUE" } else { "FALSE" }
        );
        let fields = ["-T", "fields", "-e", "vrrp.virt_rtr_id", "-e", "vrrp.prio"];
        let mut arguments = vec!["-r", &capture, "-o", &form, "-o", "ip.check_checksum:TRUE"];
        arguments.extend(["-Y", filter]);
        arguments.extend(fields);
        lb2.run("tshark", &arguments)
    };
    let all = read("vrrp", false)?;
    for (vrid, _) in FORMS.into_iter().chain([(MESSAGE_ONLY, V3)]) {
        ensure!(all.contains(&format!("{vrid}\t101")), "{vrid}: {all}");
    }
    let of = format!("vrrp.virt_rtr_id == {MESSAGE_ONLY}");
    assert_eq!(read(&format!("({WRONG}) and not {of}"), false)?, "");
    assert_eq!(read(&format!("({WRONG}) and {of}"), true)?, "");
    // The filter sees what is wrong: the other form of that one.
    assert_ne!(read(&format!("({WRONG}) and {of}"), false)?, "");
    Ok(())
}
