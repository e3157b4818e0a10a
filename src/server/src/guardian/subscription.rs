//! Admission of a request for a stream of events: a call in the query of a URL, as browsers make it.

use http::request::Parts;
use ploinky_contract::CommandName;

use super::{
    Admitted, Caller, Carrier, Gate, Head, Wishes, call, check_method, is_cross_site, origin,
};
use crate::refusal::Refusal;
use crate::tasks::{once, pairs, refused};

/// What a client repeats of the stream that it lost (WHATWG HTML, 9.2).
const LAST_EVENT_ID: &str = "last-event-id";
const PARAMETERS: &str = "the parameters are command and params";

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Subscription {
    /// A stream.
    New(Admitted),
    /// The rest of a stream that it lost. Its task has ended, and is not to be run again by itself.
    Lost,
}

/// Admits a request for a stream: method, site, the call in the query, and whether the caller may make it.
pub(crate) fn admit_subscription(
    _proof: &Head,
    parts: &Parts,
    caller: &Caller,
    gate: &Gate,
) -> Result<Subscription, Refusal> {
    check_method(parts, "GET")?;
    // A GET that runs something: a link or an image of another site must not.
    if is_cross_site(&parts.headers) {
        return Err(Refusal::CrossSite);
    }
    if caller.carrier() == Some(Carrier::Cookie) {
        origin::check_always(&parts.headers, false)?;
    }
    if parts.headers.contains_key(LAST_EVENT_ID) {
        return Ok(Subscription::Lost);
    }
    let (mut command, mut params) = (None, None);
    for (name, value) in pairs(parts.uri.query())? {
        match &*name {
            "command" => {
                let named: CommandName =
                    value.parse().map_err(|_shape| refused(&name, &value, "is no command name"))?;
                once(&mut command, named, &name, &value)?;
            }
            "params" => {
                let list = call::list(&value)
                    .map_err(|error| refused(&name, &value, &error.to_string()))?;
                once(&mut params, list, &name, &value)?;
            }
            _ => return Err(refused(&name, &value, PARAMETERS).into()),
        }
    }
    let command = command.ok_or_else(|| refused("command", "", "must be there"))?;
    gate.permit(caller, &command)?;
    let user = caller.user().clone();
    let (params, wishes) = (params.unwrap_or_default(), Wishes::default());
    Ok(Subscription::New(Admitted { user, command, params, wishes }))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::check_head;
    use super::*;

    fn admitted(uri: &str, header: (&str, &str)) -> Result<(String, Vec<String>), String> {
        let request = Request::builder().uri(uri).header("host", "a").header(header.0, header.1);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let gate = Gate { path: "/a".parse().unwrap(), public: None, has_auth: false };
        let caller = Caller::of_test(None);
        match admit_subscription(&check_head(&parts).unwrap(), &parts, &caller, &gate) {
            Ok(Subscription::New(admitted)) => {
                let (_user, command, params, _wishes) = admitted.into_parts();
                let params = params.iter().map(|param| param.get().to_owned()).collect();
                Ok((command.as_str().to_owned(), params))
            }
            Ok(Subscription::Lost) => Err("lost".to_owned()),
            Err(refused) => Err(refused.to_string()),
        }
    }

    #[test]
    fn what_is_no_call_is_refused_by_name_value_and_rule() {
        let deep = format!("/a?command=a&params={}{}", "[".repeat(64), "]".repeat(64));
        for (uri, said) in [
            ("/a", "`command` has the value ``: must be there"),
            ("/a?command=", "is no command name"),
            ("/a?command=../x", "is no command name"),
            ("/a?command=a&command=a", "must be there once"),
            ("/a?command=a&x=1", "the parameters are command and params"),
            ("/a?command=a&params=1", "is no JSON array"),
            ("/a?command=a&params=", "is no JSON array"),
            ("/a?command=a&params=[", "EOF"),
            ("/a?command=a&params=%5B%22%5Cud800%22%5D", "surrogate"),
            (&deep, "nests deeper"),
        ] {
            let refused = admitted(uri, ("x", "y")).unwrap_err();
            assert!(refused.contains(said), "{uri}: {refused}");
        }
        let cross = admitted("/a?command=a", ("sec-fetch-site", "cross-site")).unwrap_err();
        assert!(cross.contains("another site"), "{cross}");
    }

    #[test]
    fn a_lost_stream_is_not_a_new_one() {
        assert_eq!(admitted("/a?command=a", ("last-event-id", "x-1")), Err("lost".to_owned()));
    }

    #[test]
    fn a_call_in_the_query_has_its_parameters() {
        let uri = "/a?params=%5B%22a+b%22,%7B%22c%22:1%7D%5D&command=n.s";
        let params = vec!["\"a b\"".to_owned(), "{\"c\":1}".to_owned()];
        assert_eq!(admitted(uri, ("x", "y")), Ok(("n.s".to_owned(), params)));
        assert_eq!(admitted("/a?command=a", ("x", "y")), Ok(("a".to_owned(), vec![])));
    }
}
