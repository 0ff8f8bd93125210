//! What servers of NFS and GlusterFS answer, in whatever pieces it comes: nothing panics, and nothing is held beyond the
//! limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::tiers::storage::{nfs3, rpc, volfile};

/// The first record of a stream that comes in pieces of that many bytes.
fn record(bytes: &[u8], piece: usize) -> Result<Option<Vec<u8>>, rpc::Failure> {
    let mut record = rpc::Record::default();
    for piece in bytes.chunks(piece) {
        if let Some(whole) = record.feed(piece)? {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = record(stream, stream.len().max(1));
    assert_eq!(record(stream, usize::from(piece) + 1), whole);
    if let Ok(Some(whole)) = whole {
        assert!(whole.len() <= rpc::LONGEST);
        let xid = whole.first_chunk().map_or(0, |xid| u32::from_be_bytes(*xid));
        let _ = rpc::result(xid, &whole);
    }
    let _ = (nfs3::port(stream), nfs3::mounted(stream), nfs3::looked_up(stream));
    let _ = (nfs3::created(stream), nfs3::written(stream), nfs3::data(stream, 4096));
    let _ = (nfs3::names(stream), nfs3::removed(stream), nfs3::space(stream));
    if let Some(exports) = nfs3::exports(stream) {
        let _ = nfs3::is_exported("/srv/quarantine", &exports);
    }
    if let Some(volume) = volfile::parse(&String::from_utf8_lossy(stream)) {
        for set in &volume.sets {
            assert!((1..=set.bricks.len()).contains(&set.needed));
            assert!(set.writable(|_| true));
        }
    }
});
