//! `token new`: a token, and the lines that let it in. Only its hash is ever kept.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use router_access::new_token;
use router_core::InstanceId;
use router_core::Role;

use crate::terminal::print;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token, and print the lines for the configuration file.
    New(New),
}

#[derive(Debug, Args)]
struct New {
    /// Who will use it; appears in the audit.
    #[arg(long, default_value = "someone")]
    name: String,
    /// What it may do: viewer, client, operator or admin. May be repeated.
    #[arg(long = "role", default_value = "viewer")]
    roles: Vec<String>,
    /// For clients: only these instances. May be repeated.
    #[arg(long = "instance")]
    instances: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Command::New(new) = &arguments.command;
    for role in &new.roles {
        role.parse::<Role>()?;
    }
    for instance in &new.instances {
        InstanceId::parse(instance)?;
    }
    let (token, hash) = new_token()?;
    print(&format!("token  {token}"));
    print("       shown once; who has it sends `Authorization: Bearer …`\n");
    print("# for the configuration file, which holds only the hash:");
    print("[[token]]");
    print(&format!("name = {:?}", new.name));
    print(&format!("roles = {:?}", new.roles));
    print(&format!("sha256 = \"{hash}\""));
    if !new.instances.is_empty() {
        print(&format!("instances = {:?}", new.instances));
    }
    Ok(ExitCode::SUCCESS)
}
