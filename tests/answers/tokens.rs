//! Answers as tokens of a corpus, whatever the tokenizer; and as files beside it.

use crate::{opened, quiz, source};
use std::{fs, path::Path};
use windtunnel::{
    data::{
        Corpus, Library, Tokenizer, TokenizerKind,
        answers::spans,
        split::{Part, split},
        tokenizer::training,
    },
    home::Home,
};

const PARTS: [Part; 3] = [Part::Train, Part::Test, Part::Validation];

/// Documents with every kind of border around their answers.
fn adversarial() -> String {
    let mut text = String::new();
    for i in 0..400 {
        text += match i % 8 {
            0 => "Question: what?\nAnswer: forty-two\n\n",
            1 => "Answer: é東🙂\nAnswer: naïve — yes\n\n",
            2 => "windows\r\nAnswer: 4\r\nmore\n\n",
            3 => "Answer: \nAnswer:   \nno answer\n\n",
            4 => "so Answer: 1 Answer: 2\n\n\n\n",
            5 => "Answer: 東東東東\n東\n\n",
            6 => "nothing to ask\n\n",
            _ => "It ends with Answer: \n\n",
        };
        text += &format!("and {i}\nAnswer: {}\n\n", i * 37 % 101);
    }
    // The very last line has no newline.
    text + "Answer: last"
}

fn tokenizers(text: &str) -> Vec<Tokenizer> {
    let char = Tokenizer::of(TokenizerKind::Char, [text]).unwrap();
    let mut all = vec![Tokenizer::Byte, char];
    for vocab_size in [270, 320, 500] {
        all.push(Tokenizer::Bpe(training::train([text], vocab_size).unwrap()));
    }
    all
}

#[test]
fn the_tokens_of_an_answer_are_those_with_a_byte_of_it_whatever_the_tokenizer() {
    let text = adversarial();
    let home = tempfile::tempdir().unwrap();
    let mut straddling = 0;
    for prefix in ["Answer: ", "Answer:", "answer", "Answer: 東", "東\n"] {
        for tokenizer in tokenizers(&text) {
            let source = source(&text, Some(prefix));
            let corpus = Corpus::open(home.path(), &source, &tokenizer).unwrap();
            let parts = split(&text, &source.split).unwrap();
            let sizes = tokenizer.bytes_per_id();
            for part in PARTS {
                let tokens = match part {
                    Part::Train => corpus.train(),
                    Part::Test => corpus.locked_test(),
                    Part::Validation => corpus.validation(),
                };
                // By hand: mark the bytes of answers, document by document; then look at tokens.
                let (mut marks, mut n_answers) = (Vec::new(), 0);
                for document in &parts[part as usize] {
                    let mut mark = vec![0; document.0.len()];
                    for span in spans(document.0, prefix) {
                        n_answers += 1;
                        mark[span].fill(n_answers);
                    }
                    marks.extend(mark);
                }
                let mut by_hand = vec![Vec::new(); n_answers];
                let mut byte = 0;
                for (token, id) in tokens.iter().enumerate() {
                    let bytes = &marks[byte..byte + sizes[usize::from(*id)] as usize];
                    byte += bytes.len();
                    let mut of: Vec<usize> = bytes.iter().copied().filter(|m| *m > 0).collect();
                    straddling += usize::from(!of.is_empty() && bytes.contains(&0));
                    of.dedup();
                    of.iter().for_each(|answer| by_hand[answer - 1].push(token));
                }
                assert_eq!(byte, marks.len());
                let found = corpus.answers(part).into_iter();
                let found: Vec<Vec<usize>> = found.map(Iterator::collect).collect();
                assert_eq!(found, by_hand, "{prefix:?} in {part:?}");
            }
        }
    }
    assert!(straddling > 100, "{straddling} tokens straddle a border");
}

fn files(folder: &Path) -> Vec<String> {
    let corpora = fs::read_dir(folder.join("corpora")).unwrap();
    let folder = corpora.map(|entry| entry.unwrap().path()).next().unwrap();
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn answers_are_kept_beside_their_corpus_and_a_corpus_without_them_is_as_it_was() {
    let text = quiz(1, 300);
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let asked = source(&text, Some(":"));
    let (made, tokenizer) = opened(with.path(), &asked, TokenizerKind::Byte);
    made.keep().unwrap();
    let read = Corpus::open(with.path(), &asked, &tokenizer).unwrap();
    for part in PARTS {
        assert!(!made.answers(part).is_empty());
        assert_eq!(read.answers(part), made.answers(part));
    }
    assert_eq!(
        files(with.path()),
        [
            "answers.bin",
            "documents.bin",
            "manifest.json",
            "tokens.bin"
        ]
    );

    let plain = source(&text, None);
    let (bare, _) = opened(without.path(), &plain, TokenizerKind::Byte);
    bare.keep().unwrap();
    assert!(!bare.has_answers() && bare.answers(Part::Train).is_empty());
    assert_eq!(
        files(without.path()),
        ["documents.bin", "manifest.json", "tokens.bin"]
    );
    assert!(
        !serde_json::to_string(bare.manifest())
            .unwrap()
            .contains("answers")
    );
    // The same text with other answers is another corpus, which may lie beside the first.
    assert_ne!(bare.digest(), made.digest());
    let other = source(&text, Some(":a"));
    let (other, _) = opened(with.path(), &other, TokenizerKind::Byte);
    assert_ne!(other.digest(), made.digest());
}

#[test]
fn changed_answers_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let source = source(&quiz(2, 300), Some(":"));
    let (made, tokenizer) = opened(home.path(), &source, TokenizerKind::Byte);
    made.keep().unwrap();
    let corpora = fs::read_dir(home.path().join("corpora")).unwrap();
    let path = corpora
        .map(|e| e.unwrap().path())
        .next()
        .unwrap()
        .join("answers.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Corpus::open(home.path(), &source, &tokenizer).unwrap_err();
    assert!(
        error.exit_code() == 2 && error.place.contains("answers.bin"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    let error = Corpus::open(home.path(), &source, &tokenizer).unwrap_err();
    assert!(
        error.place.contains("answers.bin") && error.remedy.contains("delete"),
        "{error}"
    );
}

#[test]
fn a_file_that_was_added_may_declare_its_answers() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.txt");
    fs::write(&file, quiz(3, 200)).unwrap();
    let library = Library::new(home.path());
    let mut added = library.to_add("mine", &file).unwrap();
    assert_eq!(added.answers, None);
    {
        let _lock = Home::lock(home.path()).unwrap();
        library.add("mine", &added).unwrap();
    }
    let record = fs::read_to_string(home.path().join("sources/mine.toml")).unwrap();
    assert!(!record.contains("answers"), "{record}");
    added.answers = Some(":".into());
    library.add("mine", &added).unwrap();
    let source = library.source("mine", &mut |_, _| {}).unwrap();
    assert_eq!(source.answers.as_deref(), Some(":"));
}
