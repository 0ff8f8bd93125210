//! Packets of MariaDB's protocol, as far as logging in and reading two columns of text goes.
//!
//! <https://mariadb.com/kb/en/clientserver-protocol/>. Ours, because the questions are few, the connection may be TLS of
//! ours, and a server that lies must cost neither memory nor time.

use super::Trouble;
use super::status::short;

/// Longest packet that is taken; the longest that is expected is a list of members.
pub(super) const LIMIT: usize = 64 * 1024;

const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// `utf8mb4_general_ci`
const UTF8: u8 = 45;

pub(super) const OK: u8 = 0x00;
pub(super) const MORE: u8 = 0x01;
pub(super) const EOF: u8 = 0xfe;
pub(super) const ERROR: u8 = 0xff;
const NULL: u8 = 0xfb;

/// The first packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    capabilities: u32,
    pub(super) scramble: [u8; 20],
    pub(super) plugin: String,
}

impl Greeting {
    pub(super) const fn tls(&self) -> bool {
        self.capabilities & SSL != 0
    }
}

/// # Errors
/// It is an error packet, or no greeting of version 10 with passwords of 4.1.
pub fn read_greeting(packet: &[u8]) -> Result<Greeting, Trouble> {
    if packet.first() == Some(&ERROR) {
        return Err(read_error(packet));
    }
    let mut rest = Rest(packet);
    if rest.take(1)? != [10] {
        return Err(Trouble::Garbage("its greeting is of another protocol"));
    }
    rest.until_zero()?;
    rest.take(4)?;
    let mut scramble = [0; 20];
    scramble[..8].copy_from_slice(rest.take(8)?);
    rest.take(1)?;
    let low = rest.number(2)?;
    rest.take(3)?;
    let high = rest.number(2)?;
    let capabilities = low | high << 16;
    let length = usize::from(rest.take(1)?[0]);
    rest.take(10)?;
    if capabilities & PROTOCOL_41 == 0 || capabilities & SECURE_CONNECTION == 0 {
        return Err(Trouble::Garbage("it is too old: no passwords of 4.1"));
    }
    let second = rest.take(length.saturating_sub(8).max(13))?;
    scramble[8..].copy_from_slice(&second[..12]);
    let plugin = match capabilities & PLUGIN_AUTH {
        0 => String::new(),
        _ => lossy(rest.until_zero()?),
    };
    Ok(Greeting {
        capabilities,
        scramble,
        plugin,
    })
}

/// What asks for TLS: the first part of a login.
pub(super) fn tls_request(greeting: &Greeting) -> Vec<u8> {
    let asked = PROTOCOL_41 | SSL | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    let capabilities = asked & (greeting.capabilities | SSL);
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend((1_u32 << 24).to_le_bytes());
    packet.push(UTF8);
    packet.extend([0; 23]);
    packet
}

pub(super) fn login(
    greeting: &Greeting,
    tls: bool,
    user: &str,
    plugin: &str,
    proof: &[u8],
) -> Vec<u8> {
    let mut packet = tls_request(greeting);
    if !tls {
        let capabilities = u32::from_le_bytes([packet[0], packet[1], packet[2], packet[3]]) & !SSL;
        packet[..4].copy_from_slice(&capabilities.to_le_bytes());
    }
    packet.extend(user.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    // Proofs are of 0, 20 or 32 bytes.
    packet.push(u8::try_from(proof.len()).unwrap_or_default());
    packet.extend(proof);
    if greeting.capabilities & PLUGIN_AUTH != 0 {
        packet.extend(plugin.bytes());
        packet.push(0);
    }
    packet
}

/// Name of the plugin, and the scramble that goes with it.
pub(super) fn read_switch(packet: &[u8]) -> Result<(String, [u8; 20]), Trouble> {
    let mut rest = Rest(packet);
    rest.take(1)?;
    if rest.0.is_empty() {
        return Err(Trouble::Authentication("mysql_old_password".to_owned()));
    }
    let plugin = lossy(rest.until_zero()?);
    let mut scramble = [0; 20];
    let known = rest.0.len().min(20);
    scramble[..known].copy_from_slice(&rest.0[..known]);
    Ok((plugin, scramble))
}

/// What an error packet says.
pub fn read_error(packet: &[u8]) -> Trouble {
    let mut rest = Rest(packet);
    let code = rest.take(1).and_then(|_| rest.number(2));
    let Ok(Ok(code)) = code.map(u16::try_from) else {
        return Trouble::Garbage("an error without a number");
    };
    let text = match rest.0 {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    let text = lossy(text);
    match code {
        1040 | 1203 => Trouble::TooManyConnections(text),
        1044 | 1045 | 1698 | 1820 | 1862 => Trouble::WrongPassword { code, text },
        1129 => Trouble::HostBlocked(text),
        1251 | 1524 => Trouble::Authentication(text),
        _ => Trouble::Server { code, text },
    }
}

/// How many columns follow.
pub(super) fn read_columns(packet: &[u8]) -> Result<usize, Trouble> {
    match packet.first() {
        Some(&ERROR) => Err(read_error(packet)),
        Some(&count @ 1..NULL) => Ok(usize::from(count)),
        _ => Err(Trouble::Garbage("no answer with columns")),
    }
}

/// End of columns or rows: shorter than any row that begins so.
pub(super) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF) && packet.len() < 9
}

/// A row of two texts; NULL is empty.
///
/// # Errors
/// It is something else.
pub fn read_row(packet: &[u8]) -> Result<(String, String), Trouble> {
    let mut rest = Rest(packet);
    let name = rest.text()?;
    let value = rest.text()?;
    match rest.0.is_empty() {
        true => Ok((name, value)),
        false => Err(Trouble::Garbage("a row of more than two columns")),
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Trouble::Garbage("a packet that is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn until_zero(&mut self) -> Result<&'a [u8], Trouble> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let taken = self.take(end.ok_or(Trouble::Garbage("a text without an end"))?)?;
        self.take(1)?;
        Ok(taken)
    }

    /// Of at most 4 bytes, the lowest first.
    fn number(&mut self, bytes: usize) -> Result<u32, Trouble> {
        let taken = self.take(bytes)?.iter().rev();
        Ok(taken.fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn text(&mut self) -> Result<String, Trouble> {
        let length = match self.take(1)?[0] {
            NULL => return Ok(String::new()),
            0xfc => self.number(2)? as usize,
            0xfd => self.number(3)? as usize,
            short @ 0..NULL => usize::from(short),
            _ => return Err(Trouble::Garbage("a text of unbelievable length")),
        };
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

fn lossy(bytes: &[u8]) -> String {
    short(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests;
