//! Wrong values of `[peer]`.

use super::Case;

pub(super) const PEER: &[Case] = &[
    ("listen", ""),
    ("listen", "listen = 8405"),
    ("listen", "listen = [\"192.168.1.10:8405\"]"),
    ("listen", "listen = \"0.0.0.0:8405\""),
    ("listen", "listen = \":8405\""),
    ("listen", "listen = \"192.168.1.10\""),
    ("listen", "listen = \"192.168.1.10:0\""),
    ("listen", "listen = \"192.168.1.100:8405\""),
    ("address", ""),
    ("address", "address = true"),
    ("address", "address = \"lb2:8405\""),
    ("address", "address = \"[::]:8405\""),
    ("address", "address = \"127.0.0.1:8405\""),
    ("address", "address = \"192.168.1.11:0\""),
    ("address", "address = \"192.168.1.11/24\""),
    ("address", "address = \"[fe80::11%2]:8405\""),
    ("address", "address = \"192.168.1.10:8405\""),
    ("address", "address = \"192.168.1.10:8406\""),
    ("address", "address = \"[2001:db8::11]:8405\""),
    ("address", "address = \"192.168.1.100:8405\""),
    ("key", "key = 1234"),
    ("key", "key = \"\""),
    ("key", "key = \"hunter2\""),
    ("key", "key = \"00ff\""),
    ("key_file", ""),
    ("key_file", "key_file = 1"),
    ("key_file", "key_file = \"\""),
    ("key_file", "key_file = \"mb-lb/peer.key\""),
    (
        "key_file",
        "key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\nkey_file = \"/etc/mb-lb/peer.key\"",
    ),
];
