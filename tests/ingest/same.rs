//! Corpora that there were before streams have the digests that they had: run ids rest on them.

use crate::{Bench, on_disk, text};
use std::{fs, path::PathBuf};
use windtunnel::data::{
    Corpus, Tokenizer, TokenizerKind,
    ingest::{Format, SourceFile, Stream, silent},
    source::Text,
};

/// Digest of the manifest under "byte" and "char". Computed with the code before streams (commit
/// 34f149f).
const BEFORE: [(&str, [&str; 2]); 2] = [
    (
        "tales",
        [
            "676af766bd32a5d7c93d34f9e3c4bd8620c0176b4a6df7f87d5e94138dfee1e4",
            "746e984dca87abae6a6702110e2897bae2abd1ad5ec4bbc99a01bafdefdafcd0",
        ],
    ),
    (
        "sums",
        [
            "3ec455aff26aaba3f674d3e5c15f0491a3dfbd4da914fe880a22bb0835ee87c8",
            "a096d7e022d6eb94f38653169106bf71919e199ca0699d15a18a072e0bda5a77",
        ],
    ),
];

/// The same of [`plain`], added as a file.
const ADDED: [&str; 2] = [
    "2f5ed070005779170f54ea4f7ced2281f9823222811482b615c27e67397d5029",
    "63a19b37e7e3b5e66911c86cd4a45c0a17dbbfc7f28ff5d5467fbd5fe6d5c504",
];

/// The same of tiny Shakespeare.
const SHAKESPEARE: [&str; 2] = [
    "47328c66a6c14f6b224c08f8119b6ab87d07ca98f2e6116f6c173b751dc4111c",
    "ad7afe96c22df7bb12bbb8a149e50e2ab0891925624f8591673cdc8c465572f9",
];

fn plain() -> String {
    let line = |i: u32| format!("line {i} of naïve text, {}\n", "é".repeat(i as usize % 7));
    let lines: String = (0..600).map(line).collect();
    lines.replace("5 of", "5 of\n\n")
}

fn digests(bench: &Bench, name: &str) -> [String; 2] {
    let source = bench.source(name).unwrap();
    let text = source.text.whole().unwrap();
    [TokenizerKind::Byte, TokenizerKind::Char].map(|kind| {
        let tokenizer = Tokenizer::of(kind, [text]).unwrap();
        let corpus = Corpus::open(&bench.home(), &source, &tokenizer).unwrap();
        corpus.digest().to_string()
    })
}

#[test]
fn the_digests_of_corpora_that_there_were_have_not_changed() {
    let bench = Bench::new();
    for (name, expected) in BEFORE {
        assert_eq!(digests(&bench, name), expected, "{name}");
    }
    bench.write("plain.txt", plain());
    let added = bench.add("plain.txt", "plain").unwrap();
    assert_eq!(digests(&bench, "plain"), ADDED);
    // And the record is the one of before, so that an older program reads it.
    let record = fs::read_to_string(bench.path("home/sources/plain.toml")).unwrap();
    let keys: Vec<&str> = record
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["path", "sha256", "kind", "validation", "test"]);
    assert!(added.files.is_empty());
}

#[test]
fn the_digest_of_tiny_shakespeare_has_not_changed() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/text");
    let folder = std::env::var_os("WINDTUNNEL_MIRROR").map_or(beside, PathBuf::from);
    let Ok(text) = fs::read(folder.join("tinyshakespeare.txt")) else {
        println!("skipped: no tinyshakespeare.txt in {}", folder.display());
        return;
    };
    let bench = Bench::new();
    bench.write("home/downloads/tinyshakespeare.txt", text);
    assert_eq!(digests(&bench, "tinyshakespeare"), SHAKESPEARE);
}

#[test]
fn a_text_made_on_the_disk_is_the_one_made_in_memory_bit_for_bit() {
    let with_giant = format!("{}\n\n{}", text(25), "a line of the giant\n".repeat(3000));
    let texts = [
        text(400),
        text(400).replace("\n\n", "\n\n\n\n\n"),
        format!("\n\n\n{}\n\n", text(100)),
        format!("\n{}", text(100)),
        // CRLF: no blank lines, so that lines are shared out.
        text(200).replace('\n', "\r\n"),
        format!("\u{feff}{}", text(60)),
        text(300).replace("\n\n", "\n"),
        text(300).replace('\n', " "),
        with_giant,
        "é".repeat(5000),
    ];
    for (i, text) in texts.iter().enumerate() {
        let bench = Bench::new();
        let file = bench.write("a.txt", text);
        let name = format!("t{i}");
        bench.add("a.txt", &name).unwrap();
        let whole = bench.source(&name).unwrap();
        let mut streamed = whole.clone();
        streamed.text = Text::Files(Stream {
            format: Format::Text,
            field: String::new(),
            tokenizer: None,
            files: vec![SourceFile {
                path: file,
                bytes: text.len() as u64,
                sha256: whole.digest.clone(),
                modified: 0,
            }],
        });
        let elsewhere = bench.path("elsewhere");
        let characters = whole
            .characters(&bench.home(), &on_disk(), &mut silent)
            .unwrap();
        let scanned = streamed
            .characters(&elsewhere, &on_disk(), &mut silent)
            .unwrap();
        assert_eq!(scanned, characters, "{i}");
        let char = Tokenizer::of(TokenizerKind::Char, [characters.as_str()]).unwrap();
        for tokenizer in [Tokenizer::Byte, char] {
            let memory = Corpus::open(&bench.home(), &whole, &tokenizer).unwrap();
            memory.keep().unwrap();
            let disk =
                Corpus::open_with(&elsewhere, &streamed, &tokenizer, &on_disk(), &mut silent)
                    .unwrap();
            assert_eq!(disk.manifest(), memory.manifest(), "text {i}");
        }
        let kept = |home: PathBuf| {
            let mut files: Vec<_> = crate::everything(&home.join("corpora"));
            files.retain(|(path, _)| !path.to_string_lossy().contains("scans"));
            let strip = |path: PathBuf| path.strip_prefix(&home).unwrap().to_path_buf();
            files
                .into_iter()
                .map(|(p, b)| (strip(p), b))
                .collect::<Vec<_>>()
        };
        assert!(kept(bench.home()) == kept(elsewhere), "text {i}");
    }
}
