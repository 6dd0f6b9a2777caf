//! Texts in three parts, tokenizers, and the built-in corpora.

use crate::{TAIL, corpora, noise, source};
use std::collections::{BTreeMap, BTreeSet};
use windtunnel::{
    data::{
        Corpus, Library, Tokenizer, TokenizerKind,
        source::SplitRule,
        split::{Document, Part, split},
        synth,
    },
    digest::sha256,
    rng::Rng,
};

const HASH: SplitRule = SplitRule::Hash {
    validation: 0.2,
    test: 0.1,
};
const PARTS: [Part; 3] = [Part::Train, Part::Test, Part::Validation];

/// Byte ranges of a part's documents in their text.
fn ranges(text: &str, documents: &[Document]) -> Vec<(usize, usize)> {
    let start = |d: &Document| d.0.as_ptr() as usize - text.as_ptr() as usize;
    documents
        .iter()
        .map(|d| (start(d), start(d) + d.0.len()))
        .collect()
}

/// Texts with every kind of seam: documents, lines, neither; blank lines in odd numbers.
fn texts() -> Vec<String> {
    let mut rng = Rng::named(1, "texts");
    let mut texts = vec![noise(1, 300), noise(2, 300).replace('\n', "")];
    for blank in 1..6u64 {
        let lines = noise(blank, 400);
        let seam = |line: &str| line.to_string() + &"\n".repeat(1 + rng.below(blank) as usize);
        let text: String = lines.lines().map(seam).collect();
        texts.push("\n".repeat(blank as usize - 1) + &text);
        texts.push(text.trim_end().to_string());
        texts.push(text.replace('\n', "\r\n"));
    }
    texts
}

#[test]
fn the_three_parts_are_the_text_with_nothing_lost_and_nothing_twice() {
    let mut split_by_content = 0;
    for text in texts() {
        for rule in [TAIL, HASH] {
            let parts = match split(&text, &rule) {
                Ok(parts) => parts,
                // Without blank lines there is but one document.
                Err(_) if rule == HASH && text.matches("\n\n").count() < 50 => continue,
                Err(error) => panic!("{error}"),
            };
            split_by_content += usize::from(rule == HASH);
            let mut all: Vec<_> = parts.iter().flat_map(|p| ranges(&text, p)).collect();
            if rule == TAIL {
                assert!(all.is_sorted(), "train, then test, then validation");
            }
            for part in &parts {
                assert!(ranges(&text, part).is_sorted(), "in the order of the text");
            }
            all.sort_unstable();
            assert!(all.iter().all(|(start, end)| start < end));
            assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert_eq!((all[0].0, all[all.len() - 1].1), (0, text.len()));
        }
    }
    assert!(split_by_content >= 8);
}

#[test]
fn a_tail_split_breaks_between_pieces_within_a_piece_of_what_was_asked() {
    let documents = noise(4, 300).replace('\n', ".\n\n");
    let lines = noise(5, 300);
    let flat = noise(6, 300).replace('\n', " ");
    for (text, seam) in [(documents, "\n\n"), (lines, "\n"), (flat, "")] {
        for (validation, test) in [(0.1, 0.05), (0.3, 0.3), (0.07, 0.03)] {
            let parts = split(&text, &SplitRule::Tail { validation, test }).unwrap();
            let bytes =
                |part: Part| -> usize { parts[part as usize].iter().map(|d| d.0.len()).sum() };
            let longest = parts.iter().flatten().map(|d| d.0.len()).max().unwrap();
            assert!(longest < text.len() / 50);
            for (part, asked) in [(Part::Validation, validation), (Part::Test, test)] {
                let off = bytes(part) as f64 - asked * text.len() as f64;
                assert!(off.abs() < longest as f64, "{part:?} is {off} bytes off");
            }
            let last = |part: Part| parts[part as usize].last().unwrap().0;
            assert!(last(Part::Train).ends_with(seam) && last(Part::Test).ends_with(seam));
            assert!(!parts[2][0].0.starts_with('\n'));
        }
    }
}

#[test]
fn a_text_with_one_giant_document_at_its_end_still_has_three_parts() {
    let text = "a small one\n\n".repeat(30) + &"a line of the giant\n".repeat(3000);
    let parts = split(&text, &TAIL).unwrap();
    let validation: usize = parts[2].iter().map(|d| d.0.len()).sum();
    let share = validation as f64 / text.len() as f64;
    assert!((share - 0.1).abs() < 0.001, "{share}");
    assert_eq!(
        split(&"word ".repeat(3), &TAIL)
            .map(|p| p[2].len())
            .unwrap(),
        1
    );
    assert_eq!(split("ab", &TAIL).unwrap_err().exit_code(), 2);
}

/// The part of the one document that holds `mark`.
fn part_of(text: &str, mark: &str) -> Part {
    let parts = split(text, &HASH).unwrap();
    let holds = |part: &Part| parts[*part as usize].iter().any(|d| d.0.contains(mark));
    PARTS.into_iter().find(holds).unwrap()
}

#[test]
fn a_document_is_in_one_part_whatever_surrounds_it() {
    let others = noise(7, 60).replace('\n', ".\n\n");
    let mut parts = BTreeMap::new();
    for i in 0..40 {
        let document = format!("number {i};\nits second line");
        let mark = format!("number {i};");
        let part = part_of(&format!("{others}{document}"), &mark);
        for text in [
            format!("{document}\n\n{others}"),
            format!("\n{document}\n\n{others}"),
            format!("\n\n\n{document}\n\n{others}"),
            format!("{others}{document}\n"),
            format!("{others}{document}\n\n\n\n\n"),
            format!("{others}\n\n{document}\n\n\n{others}"),
        ] {
            assert_eq!(part_of(&text, &mark), part, "{i}: {:?}", &text[..30]);
        }
        *parts.entry(part as usize).or_insert(0) += 1;
    }
    assert_eq!(parts.len(), 3, "{parts:?}");
}

#[test]
fn a_document_more_moves_no_other() {
    let documents: Vec<String> = (0..300).map(|i| format!("document number {i}.")).collect();
    let placed = |documents: &[String]| -> BTreeMap<String, usize> {
        let text = documents.join("\n\n");
        let parts = split(&text, &HASH).unwrap();
        let place = |part: Part| {
            let texts = parts[part as usize].iter().map(|d| d.0.trim().to_string());
            texts.map(|text| (text, part as usize)).collect::<Vec<_>>()
        };
        PARTS.into_iter().flat_map(place).collect()
    };
    let before = placed(&documents);
    assert_eq!(before.len(), 300);
    for at in [0, 1, 150, 299, 300] {
        let mut more = documents.clone();
        more.insert(at, format!("one more, at {at}"));
        let mut after = placed(&more);
        assert!(after.remove(&format!("one more, at {at}")).is_some());
        assert!(after == before, "at {at}");
    }
}

#[test]
fn text_comes_back_from_both_tokenizers_and_every_byte_is_counted() {
    let all: String = ('\0'..='\u{2FF}')
        .chain("東京🙂é\u{301}\u{10FFFF}".chars())
        .collect();
    for text in [noise(8, 50), all, "a".into()] {
        for kind in [TokenizerKind::Byte, TokenizerKind::Char] {
            let tokenizer = Tokenizer::of(kind, [text.as_str()]).unwrap();
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
            let sizes = tokenizer.bytes_per_id();
            assert_eq!(sizes.len(), tokenizer.vocab_size());
            let bytes: u32 = ids.iter().map(|id| sizes[usize::from(*id)]).sum();
            assert_eq!(bytes as usize, text.len());
            let tokens = match kind {
                TokenizerKind::Byte => text.len(),
                TokenizerKind::Char => text.chars().count(),
            };
            assert_eq!(ids.len(), tokens);
        }
    }
}

#[test]
fn a_tokenizer_depends_on_the_characters_and_not_on_where_they_are() {
    let of = |texts: &[&str]| Tokenizer::of(TokenizerKind::Char, texts.iter().copied()).unwrap();
    assert_eq!(of(&["ab", "cé"]).digest(), of(&["éc", "", "bbaa"]).digest());
    assert_ne!(of(&["ab"]).digest(), of(&["abc"]).digest());
}

#[test]
fn an_unknown_character_is_named_with_its_place_in_the_whole_text() {
    let home = tempfile::tempdir().unwrap();
    let mut text = noise(9, 200).replace('\n', ".\n\n");
    let tokenizer = Tokenizer::of(TokenizerKind::Char, [text.as_str()]).unwrap();
    let place = text.char_indices().nth(5_000).unwrap().0;
    text.insert(place, 'Ω');
    for rule in [TAIL, HASH] {
        let mut source = source("greek", &text);
        source.split = rule;
        let error = Corpus::open(home.path(), &source, &tokenizer).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.problem.contains("'Ω'"), "{error}");
        assert_eq!(
            error.place,
            format!("corpus \"greek\", byte {place} of the text")
        );
    }
    // And nothing was kept of it.
    let kept = std::fs::read_dir(home.path().join("corpora")).map_or(0, Iterator::count);
    assert_eq!(kept, 0);
}

#[test]
fn a_text_of_more_characters_than_ids_is_refused() {
    let all: String = ('\0'..=char::MAX).take(usize::from(u16::MAX) + 1).collect();
    let fits = &all[all.chars().next().unwrap().len_utf8()..];
    assert_eq!(
        Tokenizer::of(TokenizerKind::Char, [fits])
            .unwrap()
            .vocab_size(),
        65_535
    );
    let error = Tokenizer::of(TokenizerKind::Char, [all.as_str()]).unwrap_err();
    assert!(
        error.exit_code() == 2 && error.problem.contains("65536"),
        "{error}"
    );
}

#[test]
fn built_in_corpora_are_the_same_every_time_and_no_document_is_in_two_parts() {
    let home = tempfile::tempdir().unwrap();
    let library = Library::new(home.path());
    for grammar in &synth::GRAMMARS {
        let source = library.source(grammar.name, &mut |_, _| {}).unwrap();
        let again = library.source(grammar.name, &mut |_, _| {}).unwrap();
        let text = source.text.whole().unwrap();
        assert_eq!(
            (Some(text), &source.digest),
            (again.text.whole(), &again.digest)
        );
        assert_eq!(source.digest, sha256(text.as_bytes()));
        let shorter = synth::generate(grammar, 100_000, synth::DEFAULT_SEED).unwrap();
        assert!(text.starts_with(&shorter) && shorter.len() < 110_000);
        let other = synth::generate(grammar, 100_000, synth::DEFAULT_SEED + 1).unwrap();
        assert_ne!(other, shorter);

        let parts = split(text, &source.split).unwrap();
        let sets = parts.map(|part| part.iter().map(|d| d.0.trim()).collect::<BTreeSet<_>>());
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(sets[a].is_disjoint(&sets[b]), "{}", grammar.name);
        }
        // Growing the text moves no document to another part.
        for (short, long) in split(&shorter, &source.split).unwrap().iter().zip(&sets) {
            assert!(short.iter().all(|d| long.contains(d.0.trim())));
        }
    }
}

#[test]
fn a_corpus_gives_its_parts_and_where_their_documents_begin() {
    let home = tempfile::tempdir().unwrap();
    let text = noise(10, 200).replace('\n', ".\n\n");
    let (corpora, tokenizer) = corpora(home.path(), &[("plain", text.clone())]);
    let corpus = &corpora[0];
    let parts = split(&text, &TAIL).unwrap();
    let tokens = [corpus.train(), corpus.locked_test(), corpus.validation()];
    for part in PARTS {
        let documents = &parts[part as usize];
        let joined: String = documents.iter().map(|d| d.0).collect();
        assert_eq!(tokenizer.decode(tokens[part as usize]), joined);
        let mut starts: Vec<usize> = corpus.documents(part).collect();
        assert_eq!((starts.len(), starts[0]), (documents.len(), 0));
        starts.push(tokens[part as usize].len());
        for (document, bounds) in documents.iter().zip(starts.windows(2)) {
            let slice = &tokens[part as usize][bounds[0]..bounds[1]];
            assert_eq!(tokenizer.decode(slice), document.0);
        }
    }
}
