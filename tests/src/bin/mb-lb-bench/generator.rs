//! A frame generator in XDP: makes the program under test see a fresh frame in every repetition of
//! BPF_PROG_TEST_RUN.
//!
//! The kernel restores nothing between repetitions, so a program that rewrites would meet its own output, and
//! always the same flow. This one writes the headers anew, with the next flow's address and ports, waits until the
//! stores have reached the cache (else the program under test would pay for reading across them), and
//! continues in the program under test by tail call. Measured with a program that only returns in its place, it is
//! its own baseline.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::bpf_map_type;

use crate::bpf;

/// Bytes of the smallest Ethernet frame, without its check sequence.
pub const FRAME: usize = 60;
/// Address that the frames go to.
pub const VIP: [u8; 4] = [10, 77, 0, 100];
pub const VIP_PORT: u16 = 25;
/// The director's.
pub const OWN_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 2];
const CLIENT_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 10];

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

/// What to generate: a circle of `packets`, gone through for one flow after the other.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// A power of two, at most 2^20.
    pub flows: u32,
    /// Up to four packets of a flow in a row: flags, and sequence number counted from that of the SYN.
    pub packets: &'static [(u8, u8)],
    /// Sequence numbers from one turn of a flow to its next.
    pub step: u32,
    /// Flows in an order without a pattern; otherwise ascending.
    pub scattered: bool,
}

/// The program's own copy, in a map.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Script {
    turn: u64,
    length: u64,
    mask: u64,
    /// Flows as a power of two.
    shift: u64,
    odd: u64,
    flags: u64,
    offsets: u64,
    step: u64,
    headers: [u64; 3],
    fence: u64,
}

/// Its offsets, for the instructions.
mod at {
    use super::Script;
    use std::mem::offset_of;
    pub const TURN: i16 = offset_of!(Script, turn) as i16;
    pub const LENGTH: i16 = offset_of!(Script, length) as i16;
    pub const MASK: i16 = offset_of!(Script, mask) as i16;
    pub const SHIFT: i16 = offset_of!(Script, shift) as i16;
    pub const ODD: i16 = offset_of!(Script, odd) as i16;
    pub const FLAGS: i16 = offset_of!(Script, flags) as i16;
    pub const OFFSETS: i16 = offset_of!(Script, offsets) as i16;
    pub const STEP: i16 = offset_of!(Script, step) as i16;
    pub const HEADERS: i16 = offset_of!(Script, headers) as i16;
    pub const FENCE: i16 = offset_of!(Script, fence) as i16;
}

/// The loaded generator, and the two programs that it is compared with.
pub struct Generator {
    program: OwnedFd,
    script: OwnedFd,
    next: OwnedFd,
    empty: OwnedFd,
    growing: OwnedFd,
    frame: [u8; FRAME],
    /// Never back to an old one, whose sequence numbers the program has seen.
    turn: Cell<u64>,
}

impl Generator {
    pub fn new() -> io::Result<Self> {
        let script = bpf::single(
            bpf_map_type::BPF_MAP_TYPE_ARRAY,
            std::mem::size_of::<Script>(),
        )?;
        let next = bpf::single(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4)?;
        Ok(Self {
            program: bpf::load_xdp(&generator(script.as_raw_fd(), next.as_raw_fd()))?,
            empty: bpf::load_xdp(&[mov_imm(0, XDP_TX), EXIT])?,
            growing: bpf::load_xdp(&growing())?,
            script,
            next,
            frame: frame(),
            turn: Cell::new(0),
        })
    }

    /// A program that only returns XDP_TX.
    pub fn empty(&self) -> BorrowedFd<'_> {
        bpf::fd(&self.empty)
    }

    /// A program that makes room for an outer IPv4 header and returns. The generator takes the room away again,
    /// which is not the program's cost: half of what this takes more than [`Self::empty`] is that.
    pub fn growing(&self) -> BorrowedFd<'_> {
        bpf::fd(&self.growing)
    }

    /// What the generator continues in.
    pub fn set_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        bpf::write(bpf::fd(&self.next), &program.as_raw_fd())
    }

    /// What it generates, from the first packet of a flow on.
    pub fn set_traffic(&self, traffic: Traffic) -> io::Result<()> {
        assert!(
            traffic.flows.is_power_of_two() && traffic.flows <= 1 << 20,
            "flows are spread by a mask, over the 20 bits that the address has for them"
        );
        let pack = |byte: fn(&(u8, u8)) -> u8| {
            traffic
                .packets
                .iter()
                .rev()
                .fold(0u64, |packed, packet| packed << 8 | u64::from(byte(packet)))
        };
        let words = |n: usize| {
            let bytes: [u8; 8] = self.frame[8 * n..8 * n + 8]
                .try_into()
                .expect("eight bytes of a frame of sixty");
            u64::from_ne_bytes(bytes)
        };
        let length = traffic.packets.len() as u64;
        self.turn.set(self.turn.get().next_multiple_of(length));
        let script = Script {
            turn: self.turn.get(),
            length,
            mask: u64::from(traffic.flows - 1),
            shift: u64::from(traffic.flows.trailing_zeros()),
            odd: if traffic.scattered { 0x9e37_79b1 } else { 1 },
            flags: pack(|packet| packet.0),
            offsets: pack(|packet| packet.1),
            step: u64::from(traffic.step),
            headers: [words(0), words(1), words(2)],
            fence: 0,
        };
        bpf::write(bpf::fd(&self.script), &script)
    }

    /// Goes on in the traffic for `packets` packets.
    pub fn run(&self, packets: u32) -> io::Result<bpf::Ran> {
        self.turn.set(self.turn.get() + u64::from(packets));
        bpf::run(bpf::fd(&self.program), &self.frame, packets)
    }
}

/// Ethernet, IPv4, TCP without options. Checksums are not looked at by anything under test.
pub fn frame() -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[0..6].copy_from_slice(&OWN_MAC);
    frame[6..12].copy_from_slice(&CLIENT_MAC);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    frame[30..34].copy_from_slice(&VIP);
    frame[36..38].copy_from_slice(&VIP_PORT.to_be_bytes());
    frame[46..50].copy_from_slice(&[0x50, ACK, 0xff, 0xff]);
    frame
}

const XDP_TX: i32 = 3;
const ADJUST_HEAD: i32 = 44;
const TAIL_CALL: i32 = 12;
const OUTER_IPV4: i32 = 20;
const EXIT: u64 = insn(0x95, 0, 0, 0, 0);

/// `struct bpf_insn`: opcode, destination and source register, offset, immediate.
const fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    op as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | (off as u16 as u64) << 16
        | (imm as u32 as u64) << 32
}
const fn mov_imm(dst: u8, imm: i32) -> u64 {
    insn(0xb7, dst, 0, 0, imm)
}
const fn mov(dst: u8, src: u8) -> u64 {
    insn(0xbf, dst, src, 0, 0)
}
/// `dst op= imm`, 64 bits; the codes are those of linux/bpf_common.h.
const fn alu_imm(op: u8, dst: u8, imm: i32) -> u64 {
    insn(0x07 | op, dst, 0, 0, imm)
}
const fn alu(op: u8, dst: u8, src: u8) -> u64 {
    insn(0x0f | op, dst, src, 0, 0)
}
const fn load32(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x61, dst, src, off, 0)
}
const fn load64(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x79, dst, src, off, 0)
}
const fn store8(dst: u8, off: i16, src: u8) -> u64 {
    insn(0x73, dst, src, off, 0)
}
const fn store16(dst: u8, off: i16, src: u8) -> u64 {
    insn(0x6b, dst, src, off, 0)
}
const fn store32(dst: u8, off: i16, src: u8) -> u64 {
    insn(0x63, dst, src, off, 0)
}
const fn store64(dst: u8, off: i16, src: u8) -> u64 {
    insn(0x7b, dst, src, off, 0)
}
const fn big_endian(dst: u8, bits: i32) -> u64 {
    insn(0xdc, dst, 0, 0, bits)
}
const fn call(helper: i32) -> u64 {
    insn(0x85, 0, 0, 0, helper)
}
const ADD: u8 = 0x00;
const SUB: u8 = 0x10;
const MUL: u8 = 0x20;
const DIV: u8 = 0x30;
const OR: u8 = 0x40;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const MOD: u8 = 0x90;
const XOR: u8 = 0xa0;
const JUMP_EQUAL_IMM: u8 = 0x15;
const JUMP_GREATER: u8 = 0x2d;
const JUMP_NOT_EQUAL_IMM: u8 = 0x55;
const LOAD8: u8 = 0x71;
const LOAD16: u8 = 0x69;
const LOAD32: u8 = 0x61;

fn growing() -> Vec<u64> {
    vec![
        mov_imm(2, -OUTER_IPV4),
        call(ADJUST_HEAD),
        mov_imm(0, XDP_TX),
        EXIT,
    ]
}

fn generator(script: i32, next: i32) -> Vec<u64> {
    const MAP: u8 = 1;
    const MAP_VALUE: u8 = 2;
    let mut code = vec![
        mov(6, 1),
        // A program that encapsulates has left the frame longer: cut it back.
        load32(2, 6, 0),
        load32(3, 6, 4),
        alu(SUB, 3, 2),
        alu_imm(ADD, 3, -(FRAME as i32)),
        insn(JUMP_EQUAL_IMM, 3, 0, 3, 0),
        mov(1, 6),
        mov(2, 3),
        call(ADJUST_HEAD),
        load32(2, 6, 0),
        load32(3, 6, 4),
        mov(4, 2),
        alu_imm(ADD, 4, FRAME as i32),
        // To the end: aborted.
        insn(JUMP_GREATER, 4, 3, 0, 0),
    ];
    let out_of_bounds = code.len() - 1;
    code.extend([
        insn(0x18, 7, MAP_VALUE, 0, script),
        0,
        // r8: which packet of the flow, in bits; r9: whose turn.
        load64(8, 7, at::TURN),
        mov(1, 8),
        alu_imm(ADD, 1, 1),
        store64(7, at::TURN, 1),
        load64(1, 7, at::LENGTH),
        mov(9, 8),
        alu(DIV, 9, 1),
        alu(MUL, 1, 9),
        alu(SUB, 8, 1),
        alu_imm(LSH, 8, 3),
        // Sequence number: how often it was this flow's turn, times step, plus offset.
        mov(4, 9),
        load64(5, 7, at::SHIFT),
        alu(RSH, 4, 5),
        load64(5, 7, at::STEP),
        alu(MUL, 4, 5),
        load64(5, 7, at::OFFSETS),
        alu(RSH, 5, 8),
        alu_imm(AND, 5, 0xff),
        alu(ADD, 4, 5),
        big_endian(4, 32),
        store32(2, 38, 4),
        // Flags.
        load64(5, 7, at::FLAGS),
        alu(RSH, 5, 8),
        store8(2, 47, 5),
        // r9: which flow. Each step keeps different turns different.
        load64(1, 7, at::MASK),
        load64(5, 7, at::ODD),
        alu(MUL, 9, 5),
        alu(AND, 9, 1),
        mov(4, 9),
        alu_imm(RSH, 4, 7),
        alu(XOR, 9, 4),
        alu(MUL, 9, 5),
        alu(AND, 9, 1),
        // Client 172.16.0.0 and up; port from 32768 on.
        mov(4, 9),
        alu_imm(OR, 4, 0x2c10_0000),
        mov_imm(5, 1),
        alu_imm(LSH, 5, 31),
        alu(OR, 4, 5),
        big_endian(4, 32),
        store32(2, 26, 4),
        alu_imm(OR, 9, 0x8000),
        big_endian(9, 16),
        store16(2, 34, 9),
    ]);
    for word in 0..3i16 {
        code.push(load64(4, 7, at::HEADERS + 8 * word));
        code.push(store64(2, 8 * word, 4));
    }
    code.extend([
        // A locked instruction waits for all stores.
        mov_imm(4, 1),
        insn(0xdb, 7, 4, at::FENCE, 0),
        mov(1, 6),
        insn(0x18, 2, MAP, 0, next),
        0,
        mov_imm(3, 0),
        call(TAIL_CALL),
    ]);
    let end = code.len();
    code[out_of_bounds] = insn(JUMP_GREATER, 4, 3, (end - out_of_bounds - 1) as i16, 0);
    code.extend([mov_imm(0, 0), EXIT]);
    code
}

/// A program that drops what comes from the generated clients (172.16.0.0/12) and passes the rest.
pub fn sinkhole() -> Vec<u64> {
    const XDP_DROP: i32 = 1;
    const XDP_PASS: i32 = 2;
    vec![
        mov_imm(0, XDP_PASS),
        load32(2, 1, 0),
        load32(3, 1, 4),
        mov(4, 2),
        alu_imm(ADD, 4, 34),
        insn(JUMP_GREATER, 4, 3, 3, 0),
        insn(LOAD8, 5, 2, 26, 0),
        insn(JUMP_NOT_EQUAL_IMM, 5, 0, 1, 172),
        mov_imm(0, XDP_DROP),
        EXIT,
    ]
}

/// A director without a memory, for comparison: sends what goes to the VIP's port 25 on to a server by the client's
/// port, with new MAC addresses and nothing else, and passes the rest. The servers' MAC addresses differ in the last
/// byte only, counted from `first`.
pub fn relay(first: [u8; 6], servers: u8) -> Vec<u64> {
    const XDP_PASS: i32 = 2;
    let word = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let half = |bytes: &[u8]| i32::from(u16::from_le_bytes(bytes.try_into().expect("two bytes")));
    let mut code = vec![
        mov_imm(0, XDP_PASS),
        load32(2, 1, 0),
        load32(3, 1, 4),
        mov(4, 2),
        alu_imm(ADD, 4, 38),
    ];
    let mut to_exit = vec![code.len()];
    code.push(insn(JUMP_GREATER, 4, 3, 0, 0));
    for (load, offset, wanted) in [
        (LOAD16, 12, half(&[0x08, 0x00])),
        (LOAD8, 23, 6),
        (LOAD32, 30, word(&VIP)),
        (LOAD16, 36, half(&VIP_PORT.to_be_bytes())),
    ] {
        code.push(insn(load, 5, 2, offset, 0));
        to_exit.push(code.len());
        code.push(insn(JUMP_NOT_EQUAL_IMM, 5, 0, 0, wanted));
    }
    code.extend([
        insn(LOAD16, 5, 2, 34, 0),
        big_endian(5, 16),
        alu_imm(MOD, 5, i32::from(servers)),
        alu_imm(ADD, 5, i32::from(first[5])),
        mov_imm(4, word(&first[0..4])),
        store32(2, 0, 4),
        mov_imm(4, i32::from(first[4])),
        store8(2, 4, 4),
        store8(2, 5, 5),
        mov_imm(4, word(&OWN_MAC[0..4])),
        store32(2, 6, 4),
        mov_imm(4, half(&OWN_MAC[4..6])),
        store16(2, 10, 4),
        mov_imm(0, XDP_TX),
    ]);
    let exit = code.len();
    for at in to_exit {
        code[at] |= ((exit - at - 1) as u64) << 16;
    }
    code.push(EXIT);
    code
}

/// Of IPv4 and TCP, for frames that the kernel looks at.
pub fn fill_checksums(frame: &mut [u8; FRAME]) {
    frame[24..26].fill(0);
    let sum = checksum(0, &frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame[50..52].fill(0);
    // Protocol and length of the pseudo header (RFC 9293 section 3.1); its addresses stand before the segment.
    let sum = checksum(6 + 20, &frame[26..54]);
    frame[50..52].copy_from_slice(&sum);
}

/// Internet checksum (RFC 1071).
fn checksum(start: u32, bytes: &[u8]) -> [u8; 2] {
    let mut sum = bytes.chunks_exact(2).fold(start, |sum, word| {
        sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
    });
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}
