//! Makes a copy of the cell as it is, and one for each planted bug. A bug whose place in the source is gone is an error: it would
//! prove nothing.

use std::{env, error::Error, fs, path::Path};

const SOURCE: &str = "../../host/core/src/permit.rs";

/// The plain values that it holds and reports.
const VALUES: &str = "../../host/core/src/cell_state.rs";

/// Name, what it replaces, and by what.
const BUGS: [(&str, &str, &str); 7] = [
    (
        "lease_of_any_generation",
        "let same_generation = found >> EXPIRY_BITS == taken >> EXPIRY_BITS;",
        "let same_generation = true;",
    ),
    (
        "lease_without_exchange",
        "let taken = lease.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
            taken.is_ok()",
        "let word = take(lease.load(Ordering::Acquire));
            word.inspect(|word| lease.store(*word, Ordering::Release)).is_some()",
    ),
    (
        "gives_back_what_is_not_its_own",
        "let _ = lease.compare_exchange(word, free, Ordering::AcqRel, Ordering::Relaxed);",
        "lease.store(free, Ordering::Release);",
    ),
    (
        "late_mark_undoes_a_change",
        "let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (generation_of(word) == generation && word & STREAK == 0).then_some(word | STREAK)
            });",
        "let word = self.word.load(Ordering::Acquire);
        if generation_of(word) == generation { self.word.store(word | STREAK, Ordering::Release); }",
    ),
    (
        "leases_never_come_back",
        "let free = word & !EXPIRY_MASK;",
        "let free = word;",
    ),
    (
        "word_before_leases",
        "let before = self.word.load(Ordering::Acquire);",
        "let before = self.word.swap(pack(setting), Ordering::AcqRel);",
    ),
    (
        "word_not_released",
        "self.word.store(pack(setting), Ordering::Release);
    }

    /// Comes before",
        "self.word.store(pack(setting), Ordering::Relaxed);
    }

    /// Comes before",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in [SOURCE, VALUES] {
        println!("cargo::rerun-if-changed={file}");
    }
    let source = fs::read_to_string(SOURCE)?;
    let out = env::var("OUT_DIR")?;
    let write = |name: &str, source: &str| {
        // Included into a module, it may have no comments about itself; and its own tests are the core's.
        let lines = source.lines().filter(|line| !line.starts_with("//!"));
        let text: Vec<&str> = lines.take_while(|line| *line != "#[cfg(test)]").collect();
        fs::write(Path::new(&out).join(format!("{name}.rs")), text.join("\n"))
    };
    write("values", &fs::read_to_string(VALUES)?)?;
    write("as_it_is", &source)?;
    for (name, what, by) in BUGS {
        if source.matches(what).count() != 1 {
            return Err(format!("{SOURCE} has no single place for the bug {name}: {what}").into());
        }
        write(name, &source.replace(what, by))?;
    }
    Ok(())
}
