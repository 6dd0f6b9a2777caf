//! How many paired seeds a study may use, and when they are looked at.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{borrow::Cow, fmt};

/// `seeds = 8`, or `seeds = { min = 3, max = 20 }` where they come one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    Count(usize),
    Between(Between),
}

/// The first look, and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// Before the first look, 2 or more.
    pub min: usize,
    /// At most.
    pub max: usize,
}

/// Fewer pairs have no interval.
pub const FEWEST: usize = 2;

impl Seeds {
    /// The most that a study may use.
    pub fn most(self) -> usize {
        match self {
            Self::Count(n) => n,
            Self::Between(between) => between.max,
        }
    }

    /// Those that a study uses at least.
    pub fn fewest(self) -> usize {
        match self {
            Self::Count(n) => n.min(FEWEST),
            Self::Between(between) => between.min,
        }
    }
}

impl From<usize> for Seeds {
    fn from(n: usize) -> Self {
        Self::Count(n)
    }
}

impl Serialize for Seeds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(n) => n.serialize(serializer),
            Self::Between(between) => between.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Seeds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeedsVisitor)
    }
}

impl JsonSchema for Seeds {
    fn schema_name() -> Cow<'static, str> {
        "Seeds".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let between = generator.subschema_for::<Between>();
        json_schema!({
            "description": "A number of seeds, 1 to 1000, or the first look and the last.",
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 1000 }, between],
        })
    }
}

struct SeedsVisitor;

impl<'de> Visitor<'de> for SeedsVisitor {
    type Value = Seeds;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number of seeds, or { min = 3, max = 20 }")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Seeds, E> {
        usize::try_from(n).map(Seeds::Count).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Seeds, E> {
        let unexpected = de::Unexpected::Signed(n);
        usize::try_from(n)
            .map(Seeds::Count)
            .map_err(|_| E::invalid_value(unexpected, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Seeds, A::Error> {
        Between::deserialize(MapAccessDeserializer::new(map)).map(Seeds::Between)
    }
}
