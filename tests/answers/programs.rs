//! The programs, run by Python.

use crate::documents;
use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

/// Runs each program of the standard input and says where the output is not what stands there.
const CHECK: &str = r#"
import contextlib, io, sys
for place, document in enumerate(sys.stdin.read().split("\n\n")):
    program, output = document.rstrip("\n").split("\nOutput:\n")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    if printed.getvalue() != output + "\n":
        print(f"{place}: {document}\nPython prints\n{printed.getvalue()}")
print("done")
"#;

#[test]
fn python_prints_the_same() {
    let documents = documents("programs", 600_000);
    let child = Command::new("python3")
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: no python3");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(documents.join("\n\n").as_bytes()).unwrap();
    drop(stdin);
    let said = child.wait_with_output().unwrap();
    assert!(documents.len() > 2000 && said.status.success());
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "done\n");
}

#[test]
fn programs_differ_in_structure_and_length() {
    let documents = documents("programs", 600_000);
    for word in [
        "def ",
        "return ",
        "for ",
        "in range(",
        "while ",
        "if ",
        "elif ",
        "else:",
        " and ",
        " or ",
        ".append(",
        "] = ",
        " += ",
        " -= ",
        " // ",
        " % ",
        "sorted(",
        "len(",
        "min(",
        "str(",
        "[-1]",
        "True",
        "False",
    ] {
        let with = documents.iter().filter(|d| d.contains(word)).count();
        assert!(with >= 20, "{word:?} is in {with} of {}", documents.len());
    }
    // Names and numbers apart, how many programs are there?
    let shape = |document: &String| -> String {
        let words = document.split(|c: char| c.is_ascii_digit());
        words.collect()
    };
    let shapes: BTreeSet<String> = documents.iter().map(shape).collect();
    assert!(
        shapes.len() * 2 > documents.len(),
        "{} shapes",
        shapes.len()
    );
    let mut lines: Vec<usize> = documents.iter().map(|d| d.lines().count()).collect();
    lines.sort_unstable();
    let (short, long) = (lines[lines.len() / 20], lines[lines.len() * 19 / 20]);
    assert!(short <= 6 && long >= 14, "{short} to {long} lines");
}

#[test]
fn every_document_is_one_program_and_its_output() {
    for document in documents("programs", 4_000_000) {
        let (program, output) = document.split_once("\nOutput:\n").unwrap();
        assert!(
            !program.is_empty() && !output.contains("Output:"),
            "{document}"
        );
        assert!((1..=8).contains(&output.lines().count()), "{document}");
        assert!(output.lines().all(|line| !line.is_empty()), "{document}");
    }
}
