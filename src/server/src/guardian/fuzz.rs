//! What has to hold of a call and of a credential, whatever they are. Called by fuzz targets, and with their corpus by
//! tests.

use http::{HeaderMap, HeaderValue, header};
use ploinky_contract::limits::PARAMS_MAX;
use ploinky_contract::{CommandName, check_depth};

use super::{call, credential};

/// What is taken for a call has a command, and parameters that are JSON texts of the body, byte for byte.
pub(crate) fn json_call(bytes: &[u8]) {
    let Ok((command, params)) = call::parse(bytes) else { return };
    assert!(command.as_str().parse::<CommandName>().is_ok(), "the command is none");
    assert!(params.len() <= PARAMS_MAX, "too many parameters");
    for param in params {
        let text = param.get();
        let is_there = bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        assert!(is_there, "a parameter is not what the client wrote");
        assert!(check_depth(text.as_bytes(), 64).is_ok(), "a parameter nests too deep");
        assert!(!call::has_lone_surrogate(text.as_bytes()), "half of a surrogate pair");
    }
}

/// A token comes only from a value that holds it whole, and one value has one reading.
pub(crate) fn credential(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    for name in [header::COOKIE, header::AUTHORIZATION] {
        let headers = HeaderMap::from_iter([(name.clone(), value.clone())]);
        for is_tls in [false, true] {
            let Ok(Some(shown)) = credential::of(&headers, is_tls) else { continue };
            let Some(token) = shown.token else { continue };
            let text = token.reveal().as_bytes();
            assert!(bytes.windows(text.len()).any(|window| window == text), "a made-up token");
            let mut twice = headers.clone();
            twice.append(name.clone(), value.clone());
            assert!(credential::of(&twice, is_tls).is_err(), "twice is not refused");
        }
    }
}
