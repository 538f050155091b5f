//! Bodies of renewd's own API: the walk along the schema, and whatever follows it.
#![no_main]

use fuzz::{Operation, try_request};
use libfuzzer_sys::fuzz_target;

const OPERATIONS: &[Operation] = &[
    Operation("POST", "/app/{app_id}/sign"),
    Operation("POST", "/app/{app_id}/renew"),
    Operation("POST", "/app/{app_id}/verify"),
    Operation("POST", "/app/{app_id}/logout"),
    Operation("POST", "/app/{app_id}/get-session"),
    Operation("PATCH", "/app/{app_id}/sessions/{session_id}"),
    Operation("POST", "/app/{app_id}/devices/session"),
    Operation("POST", "/app/{app_id}/push-feedback"),
    Operation("PATCH", "/root/{app_id}"),
    Operation("POST", "/root/{app_id}/keys"),
    Operation("POST", "/root/create"),
];

fuzz_target!(|data: &[u8]| try_request(OPERATIONS, data));
