//! The words of the facts: what can be true of a town, an animal, a machine, and ways to say it.
//!
//! `{n}` is the name and `{v}` the value. Within a kind no two attributes share a value, and no
//! sentence has another attribute's value among its words, so that a reader can tell facts apart by
//! their values alone.

use super::world::ATTRIBUTES;

pub struct Kind {
    /// What a sentence may say in place of the name.
    pub noun: &'static str,
    /// What a name has before it.
    pub article: &'static str,
    pub attributes: [Attribute; ATTRIBUTES],
}

pub struct Attribute {
    pub values: &'static [&'static str],
    /// What follows a subject; two of them can be joined by "and".
    pub clauses: [&'static str; 3],
    /// Whole sentences.
    pub sentences: [&'static str; 3],
    pub questions: [&'static str; 3],
}

/// First sentences of a paragraph.
pub const OPENERS: [&str; 4] = [
    "Here is what they say of {n}.",
    "Travellers tell of {n}.",
    "A few words about {n}.",
    "Have you heard of {n}?",
];

const COLOURS: &[&str] = &[
    "red", "blue", "green", "yellow", "black", "white", "brown", "grey", "orange", "purple",
];
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve",
];

pub const KINDS: [Kind; 3] = [TOWN, ANIMAL, MACHINE];

const TOWN: Kind = Kind {
    noun: "town",
    article: "",
    attributes: [
        Attribute {
            values: &[
                "Sorn", "Ellow", "Tarrow", "Wend", "Marl", "Issel", "Bray", "Corrie", "Dunn",
                "Fenn", "Garn", "Lune",
            ],
            clauses: [
                "lies on the {v}",
                "draws its water from the {v}",
                "has bridges over the {v}",
            ],
            sentences: [
                "The {v} flows past {n}.",
                "Boats go up the {v} to {n}.",
                "The mills of {n} are turned by the {v}.",
            ],
            questions: [
                "Which river does {n} lie on?",
                "What is the river of {n} called?",
                "Which river flows past {n}?",
            ],
        },
        Attribute {
            values: &[
                "cheese", "glass", "bells", "ropes", "candles", "carpets", "boots", "salt",
                "honey", "paper", "clocks", "kites",
            ],
            clauses: [
                "is known for its {v}",
                "sells {v} far and wide",
                "lives by its {v}",
            ],
            sentences: [
                "People come to {n} for its {v}.",
                "Traders go to {n} to buy {v}.",
                "Nothing is praised in {n} like its {v}.",
            ],
            questions: [
                "What is {n} known for?",
                "What do traders buy in {n}?",
                "What does {n} sell?",
            ],
        },
        Attribute {
            values: COLOURS,
            clauses: [
                "has {v} roofs",
                "has roofs of {v} slate",
                "shows its {v} roofs from far off",
            ],
            sentences: [
                "The roofs of {n} are {v}.",
                "Every roof in {n} is {v}.",
                "They paint the roofs of {n} {v}.",
            ],
            questions: [
                "What colour are the roofs of {n}?",
                "Which colour is every roof in {n}?",
                "What colour do they paint the roofs of {n}?",
            ],
        },
        Attribute {
            values: &[
                "Monday",
                "Tuesday",
                "Wednesday",
                "Thursday",
                "Friday",
                "Saturday",
                "Sunday",
            ],
            clauses: [
                "holds its market on {v}",
                "keeps {v} for its market",
                "fills its square with stalls on {v}",
            ],
            sentences: [
                "The market of {n} is on {v}.",
                "Every {v} there is a market in {n}.",
                "Carts roll into {n} for the {v} market.",
            ],
            questions: [
                "On which day is the market of {n}?",
                "When does {n} hold its market?",
                "Which day is market day in {n}?",
            ],
        },
        Attribute {
            values: &[
                "Ada", "Bruno", "Clara", "Dario", "Edda", "Felix", "Greta", "Hugo", "Ida", "Jonas",
                "Kira", "Leon",
            ],
            clauses: [
                "has {v} for a mayor",
                "chose {v} as its mayor",
                "is led by {v}",
            ],
            sentences: [
                "The mayor of {n} is {v}.",
                "{v} is the mayor of {n}.",
                "In {n} the keys are kept by {v}.",
            ],
            questions: [
                "Who is the mayor of {n}?",
                "Who leads {n}?",
                "Whom did {n} choose as its mayor?",
            ],
        },
        Attribute {
            values: &[
                "on a hill",
                "in a valley",
                "by the sea",
                "in a forest",
                "on an island",
                "in a marsh",
                "on a plain",
                "by a lake",
            ],
            clauses: ["stands {v}", "was built {v}", "was founded {v}"],
            sentences: [
                "You will find {n} {v}.",
                "The first stones of {n} were laid {v}.",
                "Long ago {n} was built {v}.",
            ],
            questions: [
                "Where does {n} stand?",
                "Where was {n} built?",
                "Where will you find {n}?",
            ],
        },
    ],
};

const ANIMAL: Kind = Kind {
    noun: "animal",
    article: "the ",
    attributes: [
        Attribute {
            values: &[
                "berries",
                "roots",
                "moss",
                "snails",
                "beetles",
                "seeds",
                "reeds",
                "mushrooms",
                "nuts",
                "fish",
                "ants",
                "clover",
            ],
            clauses: ["eats {v}", "feeds on {v}", "likes {v} best"],
            sentences: [
                "There is nothing {n} likes to eat like {v}.",
                "You can lure {n} with {v}.",
                "The young of {n} are fed with {v}.",
            ],
            questions: [
                "What does {n} eat?",
                "What does {n} feed on?",
                "What can you lure {n} with?",
            ],
        },
        Attribute {
            values: &[
                "in caves",
                "in orchards",
                "in swamps",
                "in dunes",
                "in barns",
                "under hedges",
                "on cliffs",
                "in meadows",
                "in attics",
                "in wells",
            ],
            clauses: ["lives {v}", "makes its home {v}", "sleeps {v}"],
            sentences: [
                "Look for {n} {v}.",
                "It is {v} that {n} has its nest.",
                "The home of {n} is {v}.",
            ],
            questions: [
                "Where does {n} live?",
                "Where should you look for {n}?",
                "Where is the home of {n}?",
            ],
        },
        Attribute {
            values: NUMBERS,
            clauses: ["has {v} legs", "walks on {v} legs", "runs on {v} legs"],
            sentences: [
                "The legs of {n} are {v} in number.",
                "Count the legs of {n} and you find {v}.",
                "Nature gave {n} {v} legs.",
            ],
            questions: [
                "How many legs does {n} have?",
                "On how many legs does {n} walk?",
                "How many legs did nature give {n}?",
            ],
        },
        Attribute {
            values: COLOURS,
            clauses: ["has {v} fur", "wears {v} fur", "is {v} all over"],
            sentences: [
                "The fur of {n} is {v}.",
                "The coat of {n} is always {v}.",
                "You know {n} by its {v} fur.",
            ],
            questions: [
                "What colour is {n}?",
                "What colour is the fur of {n}?",
                "Which colour is the coat of {n}?",
            ],
        },
        Attribute {
            values: &[
                "hum", "whistle", "bark", "croak", "purr", "click", "hiss", "chirp", "growl",
                "squeak",
            ],
            clauses: [
                "greets the day with a {v}",
                "gives a {v} when it is glad",
                "calls its mate with a {v}",
            ],
            sentences: [
                "The call of {n} is a {v}.",
                "At night you may hear the {v} of {n}.",
                "The young of {n} learn to {v} early.",
            ],
            questions: [
                "What is the call of {n}?",
                "Which sound does {n} make?",
                "What may you hear from {n} at night?",
            ],
        },
        Attribute {
            values: &[
                "fire", "thunder", "water", "owls", "wind", "snow", "mirrors", "drums", "smoke",
                "shadows",
            ],
            clauses: ["is afraid of {v}", "runs away from {v}", "cannot bear {v}"],
            sentences: [
                "Nothing frightens {n} like {v}.",
                "With {v} you can drive {n} away.",
                "The one fear of {n} is {v}.",
            ],
            questions: [
                "What is {n} afraid of?",
                "What frightens {n}?",
                "What does {n} run away from?",
            ],
        },
    ],
};

const MACHINE: Kind = Kind {
    noun: "machine",
    article: "the ",
    attributes: [
        Attribute {
            values: &[
                "Abbot", "Birch", "Calder", "Dorn", "Eckhart", "Finch", "Grove", "Hale", "Irwin",
                "Joss", "Kemp", "Lorne",
            ],
            clauses: [
                "was built by {v}",
                "is the work of {v}",
                "came from the hands of {v}",
            ],
            sentences: [
                "{v} built {n}.",
                "The maker of {n} was {v}.",
                "It was {v} who drew the plans of {n}.",
            ],
            questions: [
                "Who built {n}?",
                "Who was the maker of {n}?",
                "Whose work is {n}?",
            ],
        },
        Attribute {
            values: &[
                "coal", "steam", "wood", "oil", "peat", "gas", "springs", "wind", "water",
                "weights",
            ],
            clauses: ["runs on {v}", "is driven by {v}", "gets its power from {v}"],
            sentences: [
                "Without {v} there is no life in {n}.",
                "What drives {n} is {v}.",
                "The power of {n} comes from {v}.",
            ],
            questions: [
                "What does {n} run on?",
                "What drives {n}?",
                "Where does the power of {n} come from?",
            ],
        },
        Attribute {
            values: &[
                "nails", "buttons", "bricks", "needles", "spoons", "hats", "pipes", "wire",
                "socks", "pins", "chains", "tiles",
            ],
            clauses: [
                "makes {v}",
                "turns out {v} all day",
                "was made to produce {v}",
            ],
            sentences: [
                "Whoever needs {v} goes to {n}.",
                "Heaps of {v} leave {n} every hour.",
                "The one task of {n} is making {v}.",
            ],
            questions: [
                "What does {n} make?",
                "What leaves {n} every hour?",
                "What was {n} made to produce?",
            ],
        },
        Attribute {
            values: NUMBERS,
            clauses: [
                "has {v} wheels",
                "turns {v} wheels at once",
                "rolls on {v} wheels",
            ],
            sentences: [
                "The wheels of {n} are {v} in number.",
                "Inside {n} there are {v} wheels.",
                "Count the wheels of {n} and you find {v}.",
            ],
            questions: [
                "How many wheels does {n} have?",
                "How many wheels are there inside {n}?",
                "How many wheels does {n} turn at once?",
            ],
        },
        Attribute {
            values: COLOURS,
            clauses: ["is painted {v}", "has a case of {v} iron", "shines in {v}"],
            sentences: [
                "The case of {n} is {v}.",
                "Someone painted {n} {v}.",
                "The paint on {n} is {v}.",
            ],
            questions: [
                "What colour is {n}?",
                "What colour is the case of {n}?",
                "Which colour was {n} painted?",
            ],
        },
        Attribute {
            values: &[
                "in a mill",
                "in a cellar",
                "in a tower",
                "in a barn",
                "in a workshop",
                "in a shed",
                "in a yard",
                "on a ship",
                "on a pier",
                "in a hall",
            ],
            clauses: ["stands {v}", "is kept {v}", "does its work {v}"],
            sentences: [
                "You can see {n} {v}.",
                "They set up {n} {v}.",
                "Its owners keep {n} {v}.",
            ],
            questions: [
                "Where does {n} stand?",
                "Where is {n} kept?",
                "Where can you see {n}?",
            ],
        },
    ],
};
