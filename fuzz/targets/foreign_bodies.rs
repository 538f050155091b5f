//! Bodies of the documented systems whose clients are served.
#![no_main]

use fuzz::{Operation, try_request};
use libfuzzer_sys::fuzz_target;

const OPERATIONS: &[Operation] = &[
    Operation("POST", "/events"),
    Operation("POST", "/devices/refresh-token"),
    Operation("PUT", "/devices/registration-tokens/refresh"),
    Operation(
        "POST",
        "/workspaces/{app_id}/devices/registration-tokens/create",
    ),
    Operation(
        "PUT",
        "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service",
    ),
    Operation("POST", "/v1/auth/register"),
    Operation("POST", "/v1/auth/token/generate"),
    Operation("PATCH", "/v1/auth/token/update"),
];

fuzz_target!(|data: &[u8]| try_request(OPERATIONS, data));
