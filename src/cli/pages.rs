//! The manual page and the completions, generated from the arguments' own descriptions.

use clap::CommandFactory;

use super::args::Args;
use super::failure::Failure;
use super::output::Output;

/// Prints the manual page, with one section a verb.
pub(crate) fn man(out: Output) -> Result<(), Failure> {
    let command = Args::command();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for verb in command.get_subcommands().filter(|v| !v.is_hide_set()) {
        let name = format!("stratafs {}", verb.get_name());
        let man = clap_mangen::Man::new(verb.clone().bin_name(name.clone()));
        page.extend_from_slice(format!(".SH {}\n", name.to_uppercase()).as_bytes());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    out.bytes(&page)
}

/// Prints the completions for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell, out: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "stratafs", &mut script);
    out.bytes(&script)
}
