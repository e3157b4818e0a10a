//! The manual page ploinkyctl(8) says what the command line says. `UPDATE=1` writes it anew.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use clap::Command;

/// Synopsis, description and options of all verbs.
const HEAD: &str = include_str!("../man/head.roff");
/// Sections that the command line does not know: files, exit codes, shapes of `--json`.
const TAIL: &str = include_str!("../man/tail.roff");

fn page() -> String {
    let mut root = ploinky_ctl::command_line();
    root.build();
    let about = root.get_about().map(ToString::to_string).unwrap_or_default();
    let mut lines = vec![
        format!(".TH PLOINKYCTL 8 \"\" \"Ploinky {}\" \"Ploinky\"", env!("CARGO_PKG_VERSION")),
        ".SH NAME".to_owned(),
        format!("ploinkyctl \\- {}", escape(&about)),
        HEAD.trim_end().to_owned(),
        ".SH COMMANDS".to_owned(),
    ];
    for verb in root.get_subcommands() {
        command(verb, &mut lines);
    }
    lines.push(TAIL.to_owned());
    lines.join("\n")
}

/// One verb, or the verbs below it.
fn command(verb: &Command, lines: &mut Vec<String>) {
    if verb.has_subcommands() {
        for verb in verb.get_subcommands() {
            command(verb, lines);
        }
        return;
    }
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim_start_matches("ploinkyctl ");
    lines.push(format!(".SS \"{}\"", escape(usage)));
    lines.extend(verb.get_about().map(|about| format!("{}.", escape(&about.to_string()))));
    let options = verb.get_arguments().filter(|argument| !argument.is_positional());
    for argument in verb.get_positionals().chain(options) {
        if argument.is_global_set() || argument.get_id() == "help" {
            continue;
        }
        let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        lines.push(".TP".to_owned());
        lines.push(format!("\\fB{}\\fR", escape(&format!("{short}{argument}"))));
        lines.push(format!("{}.", escape(&help)));
    }
    if let Some(text) = verb.get_after_long_help() {
        let text = text.to_string();
        let (prose, examples) = text.split_at(text.find("Example").unwrap_or(text.len()));
        if !prose.trim().is_empty() {
            lines.extend([".PP".to_owned(), escape(prose.trim())]);
        }
        let examples = examples.lines().map(escape).collect::<Vec<_>>().join("\n");
        lines.extend([".PP\n.nf".to_owned(), examples, ".fi".to_owned()]);
    }
}

/// Text that roff prints as it is.
fn escape(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
            if line.starts_with('.') { format!("\\&{line}") } else { line }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_page_is_the_one_of_the_command_line() -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man/ploinkyctl.8");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        return File::create(path)?.write_all(page.as_bytes());
    }
    let is_in_step = fs::read_to_string(&path)? == page;
    assert!(is_in_step, "{} is not in step; run the test with UPDATE=1", path.display());
    Ok(())
}

#[test]
fn every_verb_ends_its_help_with_an_example() {
    fn check(verb: &Command) {
        let text = verb.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("Example"), "`{}` has no example", verb.get_name());
        let is_narrow = |line: &str| line.chars().count() <= 88;
        assert!(text.lines().all(is_narrow), "`{}` wraps: {text}", verb.get_name());
        verb.get_subcommands().for_each(check);
    }
    check(&ploinky_ctl::command_line());
    ploinky_ctl::command_line().debug_assert();
}
