//! Facts about invented towns, animals and machines, stated in varied sentences and asked about.
//!
//! A text has worlds, one after the other. A world is 240 names with six facts each, and lasts until
//! each of its 1440 facts was asked once. Three kinds of documents: most state some facts of one name;
//! some are quizzes, with questions on facts that other documents state; and some bring up a new
//! name, or two, state facts of them and ask.
//!
//! So a corpus measures two things. A fact is asked in one quiz of the whole text. Where that quiz is
//! in the validation part, training has met the fact in statements but never the question: only
//! knowledge answers it. Names of the third kind occur once: only reading answers those, which even a
//! model that has learnt no fact can do.

mod phrases;
mod world;

use crate::rng::Rng;
use phrases::{KINDS, OPENERS};
use std::collections::HashSet;
use world::{ATTRIBUTES, Entity, World, invented};

/// Weights of documents that state facts, that ask for them, and that bring up a new name.
const DOCUMENTS: [f64; 3] = [0.64, 0.066, 0.294];

/// Writes one document after another.
pub(super) struct Teller {
    rng: Rng,
    world: World,
    /// Names that have a meaning already, in any world.
    taken: HashSet<String>,
}

impl Teller {
    pub fn new(mut rng: Rng) -> Self {
        let mut taken = HashSet::new();
        Self {
            world: World::new(&mut rng, &mut taken),
            rng,
            taken,
        }
    }

    pub fn document(&mut self) -> String {
        if self.world.is_told() {
            self.world = World::new(&mut self.rng, &mut self.taken);
        }
        match self.rng.pick(&DOCUMENTS) {
            0 => {
                let n_facts = 4 + self.rng.below(3) as usize;
                let (entity, facts) = self.world.next_to_tell(&mut self.rng, n_facts);
                self.description(&entity, &facts)
            }
            1 => self.quiz(),
            _ => self.encounter(),
        }
    }

    /// Some facts of one name in a paragraph.
    fn description(&mut self, entity: &Entity, facts: &[usize]) -> String {
        let mut sentences = Vec::new();
        if self.rng.below(4) == 0 {
            let opener = self.one_of(&OPENERS);
            sentences.push(opener.replace("{n}", &entity.name));
        }
        sentences.extend(self.statements(entity, facts));
        sentences.join(" ")
    }

    /// Questions on facts of this world that were not asked before.
    fn quiz(&mut self) -> String {
        let n = 2 + self.rng.below(3) as usize;
        let asked = self.world.next_to_ask(n);
        let lines = asked
            .iter()
            .map(|(entity, fact)| self.question(entity, *fact));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// One or two new names of a kind, some facts of each, and questions on one or two of these.
    fn encounter(&mut self) -> String {
        let kind = self.rng.below(KINDS.len() as u64) as usize;
        let n_names = 1 + usize::from(self.rng.below(9) < 4);
        let mut stated = Vec::new();
        let mut paragraphs = Vec::new();
        for _ in 0..n_names {
            let entity = invented(kind, &mut self.rng, &mut self.taken);
            let mut facts: Vec<usize> = (0..ATTRIBUTES).collect();
            self.rng.shuffle(&mut facts);
            facts.truncate(5 - n_names - self.rng.below(2) as usize);
            paragraphs.push(self.statements(&entity, &facts).join(" "));
            stated.extend(facts.into_iter().map(|fact| (entity.clone(), fact)));
        }
        self.rng.shuffle(&mut stated);
        stated.truncate(1 + self.rng.below(2) as usize);
        let questions = stated
            .iter()
            .map(|(entity, fact)| self.question(entity, *fact));
        paragraphs.extend(questions.collect::<Vec<_>>());
        paragraphs.join("\n")
    }

    /// Sentences that state these facts in this order; the first has the name in it.
    fn statements(&mut self, entity: &Entity, facts: &[usize]) -> Vec<String> {
        let mut sentences: Vec<String> = Vec::new();
        let mut rest = facts;
        while let Some((fact, after)) = rest.split_first() {
            let subject = self.subject(entity, sentences.is_empty());
            let (sentence, left) = match (self.rng.below(10), after) {
                (0..3, _) => (self.sentence(entity, *fact), after),
                (3..6, [next, left @ ..]) => {
                    let (one, two) = (self.clause(entity, *fact), self.clause(entity, *next));
                    (format!("{subject} {one} and {two}."), left)
                }
                (6, [next, left @ ..]) => {
                    let (one, two) = (self.clause(entity, *fact), self.clause(entity, *next));
                    (format!("{}, which {one}, {two}.", entity.name), left)
                }
                _ => (format!("{subject} {}.", self.clause(entity, *fact)), after),
            };
            sentences.push(capital(&sentence));
            rest = left;
        }
        sentences
    }

    /// How a sentence calls what it is about: by name first.
    fn subject(&mut self, entity: &Entity, first: bool) -> String {
        match self.rng.below(4) {
            0 if !first => format!("the {}", KINDS[entity.kind].noun),
            1 | 2 if !first => "it".into(),
            _ => entity.name.clone(),
        }
    }

    fn clause(&mut self, entity: &Entity, fact: usize) -> String {
        let clause = self.one_of(&KINDS[entity.kind].attributes[fact].clauses);
        clause.replace("{v}", entity.value(fact))
    }

    fn sentence(&mut self, entity: &Entity, fact: usize) -> String {
        let sentence = self.one_of(&KINDS[entity.kind].attributes[fact].sentences);
        let sentence = sentence.replace("{n}", &entity.name);
        sentence.replace("{v}", entity.value(fact))
    }

    fn question(&mut self, entity: &Entity, fact: usize) -> String {
        let question = self.one_of(&KINDS[entity.kind].attributes[fact].questions);
        let question = question.replace("{n}", &entity.name);
        format!("Question: {question}\nAnswer: {}", entity.value(fact))
    }

    fn one_of(&mut self, of: &[&'static str]) -> &'static str {
        of[self.rng.below(of.len() as u64) as usize]
    }
}

fn capital(sentence: &str) -> String {
    let mut text = sentence.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
