//! Manual pages and completions, made of the command line's own description, so that they never say anything else.
//!
//! No part of the program: packages bring them, and `script/documents` has them written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs, io};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use geft_sweeper::VERSION;

use super::Arguments;

/// The program, as its pages and completions call it.
const NAME: &str = "geft-sweeper";

/// Every document by its path, as packages name it.
fn documents() -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut program = Arguments::command();
    let mut documents = BTreeMap::new();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut program, NAME, &mut script);
        documents.insert(PathBuf::from(format!("completions/{NAME}.{shell}")), script);
    }
    let program = program_with_pages();
    for command in [&program].into_iter().chain(program.get_subcommands()) {
        let man = Man::new(command.clone());
        documents.insert(PathBuf::from("man").join(man.get_filename()), page(&man, command)?);
    }
    Ok(documents)
}

/// The program with its commands, each of which has a page.
fn program_with_pages() -> Command {
    let mut program = Arguments::command()
        .disable_help_subcommand(true)
        .subcommand_help_heading("COMMANDS")
        .subcommand_value_name("COMMAND");
    program.build();
    program
}

fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    // Its own title would lose the empty date, and take the version for one.
    let title = command.get_display_name().unwrap_or(NAME).to_uppercase();
    let mut page = format!(".TH {title} 1 \"\" \"{NAME} {VERSION}\" \"User Commands\"\n").into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in after.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        section(paragraph).to_writer(&mut page)?;
    }
    Ok(page)
}

/// A section of what a command's help ends with. Lines below its heading, such as examples, stay lines.
fn section(paragraph: &str) -> Roff {
    let (heading, text) = paragraph.split_once(':').unwrap_or(("Notes", paragraph));
    let mut section = Roff::new();
    section.control("SH", [heading.to_uppercase().as_str()]);
    match text.strip_prefix('\n') {
        Some(lines) => {
            section.control("nf", []);
            for line in lines.lines() {
                section.text([roman(line)]);
            }
            section.control("fi", []);
        }
        None => {
            section.text([roman(text.trim())]);
        }
    }
    section
}

#[test]
fn every_command_has_a_page_with_all_its_options_and_examples() {
    let documents = documents().unwrap();
    let program = program_with_pages();
    let mut pages = 0;
    for command in [&program].into_iter().chain(program.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(NAME);
        let page = String::from_utf8(documents[&PathBuf::from(format!("man/{name}.1"))].clone()).unwrap();
        assert!(page.contains(".SH EXAMPLE"), "{page}");
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            let option = option.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB\\-\\-{option}\\fR")), "--{option} is not in {page}");
        }
        pages += 1;
    }
    assert_eq!(documents.keys().filter(|path| path.starts_with("man")).count(), pages);
}

#[test]
fn the_completions_of_every_shell_know_every_command() {
    let documents = documents().unwrap();
    for shell in ["bash", "fish", "zsh"] {
        let script =
            String::from_utf8(documents[&PathBuf::from(format!("completions/{NAME}.{shell}"))].clone()).unwrap();
        for command in Arguments::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell} does not know {}", command.get_name());
        }
    }
}

#[test]
#[ignore = "writes files: script/documents runs it"]
fn documents_are_written() {
    let folder = PathBuf::from(env::var_os("GEFT_SWEEPER_DOCUMENTS").expect("GEFT_SWEEPER_DOCUMENTS names the folder"));
    for (path, text) in documents().unwrap() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
