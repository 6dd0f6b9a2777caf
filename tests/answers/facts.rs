//! The facts, read back by a reader that knows values and names but no sentence of the generator.

use crate::documents;
use std::collections::{BTreeMap, BTreeSet};
use windtunnel::data::{
    source::SplitRule,
    split::{Part, split},
};

const COLOURS: &str = "red|blue|green|yellow|black|white|brown|grey|orange|purple";
const NUMBERS: &str = "two|three|four|five|six|seven|eight|nine|ten|twelve";
/// Values by kind of name (town, animal, machine) and attribute.
const VALUES: [[&str; 6]; 3] = [
    [
        "Sorn|Ellow|Tarrow|Wend|Marl|Issel|Bray|Corrie|Dunn|Fenn|Garn|Lune",
        "cheese|glass|bells|ropes|candles|carpets|boots|salt|honey|paper|clocks|kites",
        COLOURS,
        "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
        "Ada|Bruno|Clara|Dario|Edda|Felix|Greta|Hugo|Ida|Jonas|Kira|Leon",
        "on a hill|in a valley|by the sea|in a forest|on an island|in a marsh|on a plain|by a lake",
    ],
    [
        "berries|roots|moss|snails|beetles|seeds|reeds|mushrooms|nuts|fish|ants|clover",
        "in caves|in orchards|in swamps|in dunes|in barns|under hedges|on cliffs|in meadows|in attics|in wells",
        NUMBERS,
        COLOURS,
        "hum|whistle|bark|croak|purr|click|hiss|chirp|growl|squeak",
        "fire|thunder|water|owls|wind|snow|mirrors|drums|smoke|shadows",
    ],
    [
        "Abbot|Birch|Calder|Dorn|Eckhart|Finch|Grove|Hale|Irwin|Joss|Kemp|Lorne",
        "coal|steam|wood|oil|peat|gas|springs|wind|water|weights",
        "nails|buttons|bricks|needles|spoons|hats|pipes|wire|socks|pins|chains|tiles",
        NUMBERS,
        COLOURS,
        "in a mill|in a cellar|in a tower|in a barn|in a workshop|in a shed|in a yard|on a ship|on a pier|in a hall",
    ],
];
const TOWN_ENDS: &str = "by|dale|ford|gate|ham|mark|mouth|stead|ton|wick|worth|mere";
const ANIMAL_ENDS: &str = "el|in|ow|us|ip|eth|oon|ar|ik|ap";
const MACHINE_ENDS: &str = "ex|omat|ograph|otron|ometer|ator|ix|ophone|opress|odrome";

/// A name's attribute: (name, attribute).
type Key = (String, usize);

fn ends(word: &str, ends: &str) -> bool {
    word.len() >= 5 && ends.split('|').any(|end| word.ends_with(end))
}

/// The name in a sentence, and its kind.
fn name(words: &[&str]) -> Option<(usize, String)> {
    let capital = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
    for (i, word) in words.iter().enumerate() {
        let article = i > 0 && ["the", "The"].contains(&words[i - 1]);
        match (article, capital(word)) {
            (false, true) if ends(word, TOWN_ENDS) => return Some((0, word.to_string())),
            (true, false) if ends(word, ANIMAL_ENDS) => return Some((1, word.to_string())),
            (true, true) if ends(word, MACHINE_ENDS) => return Some((2, word.to_string())),
            _ => {}
        }
    }
    None
}

/// Attributes and values that some words have in them, for a kind of name.
fn values(kind: usize, words: &[&str]) -> Vec<(usize, String)> {
    let text = format!(" {} ", words.join(" "));
    let mut found = Vec::new();
    for (attribute, values) in VALUES[kind].iter().enumerate() {
        let there = values
            .split('|')
            .filter(|v| text.contains(&format!(" {v} ")));
        found.extend(there.map(|value| (attribute, value.to_string())));
    }
    found
}

fn words(sentence: &str) -> Vec<&str> {
    sentence
        .split([' ', ',', '.', '?'])
        .filter(|w| !w.is_empty())
        .collect()
}

/// One document, read.
#[derive(Default)]
struct Read {
    stated: Vec<(Key, String)>,
    /// What is asked, the answer, and the question without its name.
    asked: Vec<(Key, String, String)>,
    names: BTreeSet<String>,
}

fn read(document: &str) -> Read {
    let mut read = Read::default();
    let mut question = None;
    for line in document.lines() {
        if let Some(asked) = line.strip_prefix("Question: ") {
            question = Some(asked);
        } else if let Some(answer) = line.strip_prefix("Answer: ") {
            let question: &str = question.take().expect("an answer has a question");
            let (kind, name) = name(&words(question)).expect("a question has a name");
            let found = values(kind, &words(answer));
            assert!(found.len() == 1 && found[0].1 == answer, "{document}");
            let phrase = format!("{kind}{}", question.replace(&name, "_"));
            read.names.insert(name.clone());
            read.asked.push(((name, found[0].0), answer.into(), phrase));
        } else {
            let mut about = None;
            for sentence in line.split_inclusive(['.', '?']) {
                let words = words(sentence);
                about = name(&words).or(about);
                let (kind, name) = about.clone().expect("the first sentence has a name");
                let found = values(kind, &words);
                let opener = sentence.ends_with('?')
                    || ["Here is", "Travellers", "A few"]
                        .iter()
                        .any(|o| sentence.starts_with(o));
                assert!(
                    if opener {
                        found.is_empty()
                    } else {
                        (1..=2).contains(&found.len())
                    },
                    "{sentence:?} in {document}"
                );
                read.names.insert(name.clone());
                let facts = found.into_iter();
                read.stated
                    .extend(facts.map(|(a, value)| ((name.clone(), a), value)));
            }
        }
    }
    assert!(question.is_none(), "{document}");
    read
}

/// Every fact that documents state, none of them two ways.
fn agreed<'a>(documents: impl IntoIterator<Item = &'a Read>) -> BTreeMap<Key, String> {
    let mut facts: BTreeMap<Key, String> = BTreeMap::new();
    for (key, value) in documents.into_iter().flat_map(|read| &read.stated) {
        let known = facts.entry(key.clone()).or_insert_with(|| value.clone());
        assert_eq!(known, value, "{key:?}");
    }
    facts
}

#[test]
fn no_two_documents_contradict_each_other_and_every_answer_is_the_fact() {
    // Three worlds and more.
    let read: Vec<Read> = documents("facts", 4_000_000)
        .iter()
        .map(|d| read(d))
        .collect();
    let facts = agreed(&read);
    let (mut asked, mut known) = (0, 0);
    for (key, answer, _) in read.iter().flat_map(|read| &read.asked) {
        asked += 1;
        if let Some(fact) = facts.get(key) {
            assert_eq!(fact, answer, "{key:?}");
            known += 1;
        }
    }
    println!("{known} of {asked} questions are on facts that the text states");
    assert!(asked > 10_000 && known as f64 > 0.995 * f64::from(asked));
}

#[test]
fn a_question_always_asks_for_the_same_attribute() {
    let mut attributes: BTreeMap<String, usize> = BTreeMap::new();
    for document in documents("facts", 1_200_000) {
        for ((_, attribute), _, phrase) in read(&document).asked {
            let known = *attributes.entry(phrase.clone()).or_insert(attribute);
            assert_eq!(known, attribute, "{phrase}");
        }
    }
    assert_eq!(attributes.len(), 3 * 6 * 3);
}

#[test]
fn what_validation_asks_follows_from_the_document_or_from_training_which_never_asked_it() {
    let documents = documents("facts", 1_200_000);
    let text = documents.join("\n\n") + "\n";
    let rule = SplitRule::Hash {
        validation: 0.08,
        test: 0.04,
    };
    let parts = split(&text, &rule).unwrap();
    let read_part = |part: Part| -> Vec<Read> {
        parts[part as usize]
            .iter()
            .map(|d| read(d.0.trim()))
            .collect()
    };
    let (train, validation) = (read_part(Part::Train), read_part(Part::Validation));
    let learnt = agreed(&train);
    let questions = |of: &[Read]| -> BTreeSet<Key> {
        let asked = of.iter().flat_map(|read| &read.asked);
        asked.map(|(key, ..)| key.clone()).collect()
    };
    assert!(questions(&train).is_disjoint(&questions(&validation)));

    // (asked, can be answered) by knowing and by reading.
    let (mut knowing, mut reading) = ([0, 0], [0, 0]);
    for read in &validation {
        let here = agreed([read]);
        for (key, answer, _) in &read.asked {
            match here.is_empty() {
                true => {
                    knowing[0] += 1;
                    knowing[1] += usize::from(learnt.get(key) == Some(answer));
                }
                false => {
                    reading[0] += 1;
                    reading[1] += usize::from(here.get(key) == Some(answer));
                }
            }
        }
    }
    println!("by knowing {knowing:?}, by reading {reading:?} (asked, answerable)");
    assert!(knowing[0] >= 60 && reading[0] >= 100);
    assert_eq!(reading[0], reading[1]);
    assert!(knowing[1] as f64 >= 0.98 * knowing[0] as f64);
}

#[test]
fn a_name_that_is_introduced_to_be_asked_about_is_in_no_other_document() {
    let read: Vec<Read> = documents("facts", 1_200_000)
        .iter()
        .map(|d| read(d))
        .collect();
    let mut documents_of: BTreeMap<&str, usize> = BTreeMap::new();
    for name in read.iter().flat_map(|read| &read.names) {
        *documents_of.entry(name).or_default() += 1;
    }
    let mut introduced = 0;
    for read in read
        .iter()
        .filter(|r| !r.asked.is_empty() && !r.stated.is_empty())
    {
        assert!(
            read.names
                .iter()
                .all(|name| documents_of[name.as_str()] == 1)
        );
        introduced += 1;
    }
    // The rest are names of a world, told of and asked about in many.
    let known = documents_of.values().filter(|n| **n > 1).count();
    assert!(
        introduced > 1000 && (200..=480).contains(&known),
        "{introduced} {known}"
    );
}
