//! Who may call which command of an agent. A pure decision, made before anything is written.

use ploinky_contract::{AllowedCommands, CommandName, CommandPattern, DeployPath};

use super::Caller;
use crate::grants::Known;
use crate::refusal::Refusal;

/// Commands of the agent at `/auth` that are open to everybody: who is to log in has no session yet.
const ALWAYS: [&str; 2] = ["login", "logout"];

/// What the configuration and the manifest say of who may call an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gate {
    /// Its path.
    pub(crate) path: DeployPath,
    /// What is open to everybody, if the manifest says so.
    pub(crate) public: Option<AllowedCommands>,
    /// Whether its domain has an agent at `/auth`, so that users can have sessions.
    pub(crate) has_auth: bool,
}

impl Gate {
    /// Lets `caller` call `command`, or says why not.
    pub(super) fn permit(&self, caller: &Caller, command: &CommandName) -> Result<(), Refusal> {
        let is_always = self.path.is_auth() && ALWAYS.contains(&command.as_str());
        if is_always || self.is_allowed(caller, |allowed| allowed.allow(command)) {
            Ok(())
        } else if caller.is_somebody() {
            Err(Refusal::Forbidden(command.clone()))
        } else {
            Err(Refusal::Unauthenticated)
        }
    }

    /// Lets `caller` begin a call before its command is known: only who may call every one.
    pub(super) fn permit_any(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.is_allowed(caller, |allowed| allowed.patterns().contains(&CommandPattern::All)) {
            Ok(())
        } else if caller.is_somebody() {
            Err(Refusal::CommandNeeded)
        } else {
            Err(Refusal::Unauthenticated)
        }
    }

    fn is_allowed(&self, caller: &Caller, is_in: impl Fn(&AllowedCommands) -> bool) -> bool {
        // What is open to everybody is to those with a session, too: they could leave it away.
        if self.public.as_ref().is_some_and(&is_in) || caller.is_root() {
            return true;
        }
        match caller.known().map(Known::grant) {
            Some(grant) => {
                grant.paths.as_ref().is_none_or(|paths| paths.contains(&self.path))
                    && is_in(&grant.allowed_commands)
            }
            // Where nobody can log in and the author says nothing, everybody may all.
            None => self.public.is_none() && !self.has_auth,
        }
    }
}

#[cfg(test)]
mod tests {
    use ploinky_contract::Grant;
    use proptest::prelude::*;

    use super::*;

    fn gate(path: &str, public: Option<&[&str]>, has_auth: bool) -> Gate {
        Gate { path: path.parse().unwrap(), public: public.map(list), has_auth }
    }

    fn list(patterns: &[&str]) -> AllowedCommands {
        let parsed: Vec<CommandPattern> =
            patterns.iter().map(|text| text.parse().unwrap()).collect();
        parsed.try_into().unwrap()
    }

    fn holder(commands: &[&str], paths: Option<&[&str]>) -> Caller {
        let text = r#"{"userId":"a","allowedCommands":[],"name":"n","createdAt":1}"#;
        let mut grant = Grant::parse(text.as_bytes()).unwrap();
        grant.allowed_commands = list(commands);
        grant.paths = paths.map(|paths| paths.iter().map(|path| path.parse().unwrap()).collect());
        Caller::of_test(Some(grant))
    }

    /// What is said to a call of `command`: nothing if it is let in.
    fn said(gate: &Gate, caller: &Caller, command: &str) -> Option<&'static str> {
        match gate.permit(caller, &command.parse().unwrap()) {
            Ok(()) => None,
            Err(Refusal::Unauthenticated) => Some("401"),
            Err(Refusal::Forbidden(_)) => Some("403"),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn u1_everything_is_denied_that_nobody_opened() {
        let nobody = Caller::of_test(None);
        for (public, has_auth, command) in [
            (None, true, "a"),
            (Some(&[][..]), false, "a"),
            (Some(&[]), true, "a"),
            (Some(&["user.*"]), false, "user"),
            (Some(&["user.*"]), true, "users.x"),
            (Some(&["a"]), false, "login"),
        ] {
            let gate = gate("/x", public, has_auth);
            assert_eq!(said(&gate, &nobody, command), Some("401"), "{public:?} {command}");
            assert!(matches!(gate.permit_any(&nobody), Err(Refusal::Unauthenticated)));
        }
        for (commands, paths, command) in [
            (&[][..], None, "a"),
            (&["user.*"], None, "user"),
            (&["user.*"], None, "USER.x"),
            (&["a"], None, "a.b"),
            (&["*"], Some(&[][..]), "a"),
            (&["*"], Some(&["/x/y", "/"]), "a"),
        ] {
            for has_auth in [false, true] {
                let (gate, holder) = (gate("/x", None, has_auth), holder(commands, paths));
                assert_eq!(said(&gate, &holder, command), Some("403"), "{commands:?} {paths:?}");
                let begun = gate.permit_any(&holder);
                assert!(matches!(begun, Err(Refusal::CommandNeeded)), "{begun:?}");
            }
        }
    }

    #[test]
    fn what_is_open_is_open_and_what_is_granted_is_granted() {
        let nobody = Caller::of_test(None);
        assert_eq!(said(&gate("/x", None, false), &nobody, "a"), None);
        assert!(gate("/x", None, false).permit_any(&nobody).is_ok());
        assert_eq!(said(&gate("/x", Some(&["a"]), true), &nobody, "a"), None);
        for command in ["login", "logout"] {
            assert_eq!(said(&gate("/auth", None, true), &nobody, command), None);
            assert_eq!(said(&gate("/auth", Some(&[]), true), &holder(&[], None), command), None);
        }
        assert_eq!(said(&gate("/auth", None, true), &nobody, "users.list"), Some("401"));
        let some = holder(&["b.*"], Some(&["/x"]));
        assert_eq!(said(&gate("/x", Some(&["a"]), true), &some, "b.c"), None);
        assert_eq!(said(&gate("/x", Some(&["a"]), true), &some, "a"), None);
        assert!(gate("/x", None, true).permit_any(&holder(&["*"], None)).is_ok());
    }

    /// The rules once more, over texts.
    fn reference(
        public: Option<&[String]>,
        has_auth: bool,
        own: Option<&[String]>,
        command: &str,
    ) -> bool {
        let is_in = |list: &[String]| {
            list.iter().any(|pattern| {
                let below = pattern.strip_suffix('*').filter(|rest| rest.ends_with('.'));
                pattern == "*"
                    || pattern == command
                    || below.is_some_and(|rest| command.starts_with(rest))
            })
        };
        match own {
            _ if public.is_some_and(is_in) => true,
            Some(own) => is_in(own),
            None => public.is_none() && !has_auth,
        }
    }

    fn patterns() -> impl Strategy<Value = Vec<String>> {
        let word = prop_oneof![Just("a"), Just("ab"), Just("b"), Just("A"), Just("a-b")];
        let name = proptest::collection::vec(word, 1..4).prop_map(|words| words.join("."));
        let pattern = (name, 0..3).prop_map(|(name, kind)| match kind {
            0 => name,
            1 => format!("{name}.*"),
            _ => "*".to_owned(),
        });
        proptest::collection::vec(pattern, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn s15_decisions_are_those_of_a_short_reference(
            public in proptest::option::of(patterns()),
            own in proptest::option::of(patterns()),
            has_auth: bool,
            commands in patterns(),
        ) {
            let texts = |list: &[String]| list.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
            let strs = |list: &'_ Vec<String>| -> AllowedCommands {
                list.iter().map(|text| text.parse().unwrap()).collect::<Vec<CommandPattern>>().try_into().unwrap()
            };
            let gate = Gate { path: "/x".parse().unwrap(), public: public.as_ref().map(strs), has_auth };
            let caller = match &own {
                Some(own) => {
                    let own = texts(own);
                    holder(&own.iter().map(String::as_str).collect::<Vec<_>>(), None)
                }
                None => Caller::of_test(None),
            };
            for command in commands.iter().filter(|command| !command.ends_with('*')) {
                let expected = reference(public.as_deref(), has_auth, own.as_deref(), command);
                let denied = if own.is_some() { "403" } else { "401" };
                prop_assert_eq!(said(&gate, &caller, command), (!expected).then_some(denied));
            }
        }
    }
}
