//! What only proxies have; and what became of packets.

use maud::{Markup, html};

use super::badge;
use crate::cli::format::{count, grouped, timestamp};
use crate::snapshot::{CertificateView, ClientsView, Snapshot};

/// Days before the end from which on a certificate is shown as expiring; `status` has an alarm from then on.
const SOON: i64 = 14;

pub fn proxies(snapshot: &Snapshot, now_ms: u64) -> Markup {
    let proxies: Vec<_> = snapshot
        .services
        .iter()
        .filter_map(|service| Some((service, service.clients.as_ref()?)))
        .collect();
    html! {
        @if !proxies.is_empty() {
            section aria-labelledby="proxies" {
                h2 id="proxies" { "Clients of proxies" }
                @for (service, clients) in proxies {
                    div class="card" {
                        h3 id=(format!("proxy-{}", service.name)) { (service.name) }
                        (self::clients(clients))
                        @if !service.certificates.is_empty() {
                            (certificates(&service.name, &service.certificates, now_ms))
                        }
                    }
                }
            }
        }
    }
}

fn clients(clients: &ClientsView) -> Markup {
    let [full, resumed, failed] = clients.handshakes.map(grouped);
    html! {
        p {
            (count(clients.open, "connection")) " open, " (grouped(clients.connections)) " in all. "
            (count(clients.requests, "request")) ". "
            "TLS handshakes: " (full) " full, " (resumed) " resumed, " (failed) " failed."
        }
        @if !clients.refused.is_empty() {
            p {
                "Refused: "
                @for (index, (word, number)) in clients.refused.iter().enumerate() {
                    @if index > 0 { ", " }
                    (word) " " (grouped(*number))
                }
                "."
            }
        }
        @if clients.unlogged > 0 {
            p { (count(clients.unlogged, "line")) " of the access log were dropped." }
        }
    }
}

fn certificates(name: &str, certificates: &[CertificateView], now_ms: u64) -> Markup {
    let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    html! {
        table aria-label=(format!("Certificates of {name}")) {
            thead {
                tr {
                    th scope="col" { "Certificate" }
                    th scope="col" { "Expires" }
                    th scope="col" { "Issuer" }
                }
            }
            tbody {
                @for certificate in certificates {
                    @let left = (certificate.not_after - now).div_euclid(86_400);
                    tr {
                        th scope="row" { (certificate.names.join(", ")) small class="faint" { (certificate.file) } }
                        td data-label="Expires" {
                            @if left < 0 { (badge("bad", "expired")) }
                            @else if left < SOON { (badge("odd", &format!("in {}", days(left)))) }
                            @else { (badge("good", &format!("in {}", days(left)))) }
                            small class="faint" {
                                (timestamp(u64::try_from(certificate.not_after).unwrap_or(0).saturating_mul(1000)))
                            }
                        }
                        td data-label="Issuer" { (certificate.issuer) }
                    }
                }
            }
        }
    }
}

fn days(number: i64) -> String {
    count(number.unsigned_abs(), "day")
}

/// Packets by reason; those that are lost or answered by the director itself first.
pub fn packets(snapshot: &Snapshot) -> Markup {
    const ORDER: [&str; 4] = ["drop", "answer", "pass", "forward"];
    let mut reasons: Vec<_> = snapshot
        .dataplane
        .reasons
        .iter()
        .filter(|reason| reason.packets > 0)
        .collect();
    reasons.sort_by_key(|reason| ORDER.iter().position(|verdict| *verdict == reason.verdict));
    html! {
        @if !reasons.is_empty() {
            section class="card" aria-labelledby="packets" {
                h2 id="packets" { "Packets, and why" }
                table aria-labelledby="packets" {
                    thead {
                        tr {
                            th scope="col" { "Reason" }
                            th scope="col" { "Became" }
                            th scope="col" class="n" { "Packets" }
                            th scope="col" { "Meaning" }
                        }
                    }
                    tbody {
                        @for reason in reasons {
                            tr {
                                th scope="row" { (reason.name) }
                                td data-label="Became" {
                                    @match reason.verdict.as_str() {
                                        "drop" => { (badge("bad", "dropped")) }
                                        "answer" => { (badge("odd", "answered")) }
                                        "pass" => { "to the kernel" }
                                        _ => { "forwarded" }
                                    }
                                }
                                td data-label="Packets" class="n" { (grouped(reason.packets)) }
                                td data-label="Meaning" { (reason.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}
