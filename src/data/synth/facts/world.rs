//! Who there is in a world, what is true of it, and what comes next to be told and asked.

use super::phrases::KINDS;
use crate::rng::Rng;
use std::collections::HashSet;

/// Facts of every name.
pub const ATTRIBUTES: usize = 6;
/// Names of each kind in a world.
const NAMES: usize = 80;

/// A name and its facts.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Index into [`KINDS`].
    pub kind: usize,
    /// With its article, where it has one: "Cordale", "the blimbel".
    pub name: String,
    /// Index of each attribute's value.
    values: [usize; ATTRIBUTES],
    /// The order in which its facts take turns, and how many turns there were.
    turns: [usize; ATTRIBUTES],
    turn: usize,
}

impl Entity {
    pub fn value(&self, fact: usize) -> &'static str {
        KINDS[self.kind].attributes[fact].values[self.values[fact]]
    }
}

/// A new name with facts drawn at random.
pub fn invented(kind: usize, rng: &mut Rng, taken: &mut HashSet<String>) -> Entity {
    let values = std::array::from_fn(|fact| {
        rng.below(KINDS[kind].attributes[fact].values.len() as u64) as usize
    });
    let mut turns = std::array::from_fn(|i| i);
    rng.shuffle(&mut turns);
    Entity {
        kind,
        name: new_name(kind, rng, taken),
        values,
        turns,
        turn: 0,
    }
}

/// What is true, and what of it is still to come.
pub struct World {
    entities: Vec<Entity>,
    /// Entities to be told of, last first; filled again when empty.
    to_tell: Vec<usize>,
    /// (entity, fact) pairs that were not asked yet.
    to_ask: Vec<(usize, usize)>,
}

impl World {
    pub fn new(rng: &mut Rng, taken: &mut HashSet<String>) -> Self {
        let entities: Vec<Entity> = (0..KINDS.len() * NAMES)
            .map(|i| invented(i % KINDS.len(), rng, taken))
            .collect();
        let facts = |entity| (0..ATTRIBUTES).map(move |fact| (entity, fact));
        let mut to_ask: Vec<(usize, usize)> = (0..entities.len()).flat_map(facts).collect();
        rng.shuffle(&mut to_ask);
        Self {
            entities,
            to_tell: Vec::new(),
            to_ask,
        }
    }

    /// Whether every fact was asked.
    pub fn is_told(&self) -> bool {
        self.to_ask.is_empty()
    }

    /// An entity and `n_facts` of its facts, those first that were told least.
    pub fn next_to_tell(&mut self, rng: &mut Rng, n_facts: usize) -> (Entity, Vec<usize>) {
        if self.to_tell.is_empty() {
            // Of three names one is told of three times as often as another: some facts are easy.
            let often = |i: usize| std::iter::repeat_n(i, 1 + i / KINDS.len() % 3);
            self.to_tell = (0..self.entities.len()).flat_map(often).collect();
            rng.shuffle(&mut self.to_tell);
        }
        let idx = self.to_tell.pop().unwrap_or_default();
        let entity = &mut self.entities[idx];
        let next = |i| entity.turns[(entity.turn + i) % ATTRIBUTES];
        let mut facts: Vec<usize> = (0..n_facts).map(next).collect();
        entity.turn = (entity.turn + n_facts) % ATTRIBUTES;
        rng.shuffle(&mut facts);
        (entity.clone(), facts)
    }

    /// At most `n` facts that were not asked before; they will not come again.
    pub fn next_to_ask(&mut self, n: usize) -> Vec<(Entity, usize)> {
        let first = self.to_ask.len().saturating_sub(n);
        let asked = self.to_ask.split_off(first).into_iter();
        asked
            .map(|(entity, fact)| (self.entities[entity].clone(), fact))
            .collect()
    }
}

/// Beginnings, middles and ends of a kind's names.
struct Syllables {
    starts: &'static [&'static str],
    middles: &'static [&'static str],
    ends: &'static [&'static str],
}

const TOWNS: Syllables = Syllables {
    starts: &[
        "Bel", "Cor", "Dun", "El", "Far", "Gal", "Hol", "Ist", "Jor", "Kel", "Lan", "Mor", "Nor",
        "Ob", "Pel", "Quil", "Ros", "Sel", "Tor", "Ul", "Ven", "Wil", "Yar", "Zan",
    ],
    middles: &["a", "e", "i", "o", "an", "en", "ar", "er", "or", "il"],
    ends: &[
        "by", "dale", "ford", "gate", "ham", "mark", "mouth", "stead", "ton", "wick", "worth",
        "mere",
    ],
};
const ANIMALS: Syllables = Syllables {
    starts: &[
        "bl", "br", "dr", "fl", "gl", "gr", "l", "m", "n", "pl", "sk", "sn", "th", "tr", "v", "w",
        "y", "z",
    ],
    middles: &[
        "amb", "elm", "orb", "ulk", "irv", "ald", "ozz", "urn", "end", "olv", "isp", "umb", "arn",
        "ilk", "erb",
    ],
    ends: &["el", "in", "ow", "us", "ip", "eth", "oon", "ar", "ik", "ap"],
};
const MACHINES: Syllables = Syllables {
    starts: &[
        "B", "Br", "D", "Dr", "F", "G", "Gr", "H", "K", "Kr", "L", "M", "P", "R", "S", "Sp", "T",
        "Tr", "V", "W", "Z",
    ],
    middles: &[
        "all", "ind", "or", "um", "ast", "el", "ax", "ond", "irr", "ulv", "em", "ott",
    ],
    ends: &[
        "ex", "omat", "ograph", "otron", "ometer", "ator", "ix", "ophone", "opress", "odrome",
    ],
};

/// A name that nothing has yet. It grows by a syllable where the short ones are scarce.
fn new_name(kind: usize, rng: &mut Rng, taken: &mut HashSet<String>) -> String {
    let syllables = &[TOWNS, ANIMALS, MACHINES][kind];
    let mut tries = 0;
    loop {
        let mut name = String::from(KINDS[kind].article);
        let mut add = |of: &[&str]| name.push_str(of[rng.below(of.len() as u64) as usize]);
        add(syllables.starts);
        (0..1 + tries / 8).for_each(|_| add(syllables.middles));
        add(syllables.ends);
        if taken.insert(name.clone()) {
            return name;
        }
        tries += 1;
    }
}
