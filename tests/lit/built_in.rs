//! What is built in, and how it is found.

use crate::{built_in, run};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

#[test]
fn every_built_in_record_is_whole_and_says_where_it_was_looked_up() {
    let library = built_in();
    let records = library.records();
    assert!(records.len() >= 40, "{} records", records.len());
    let mut recipe_keys = BTreeSet::new();
    property_names(&windtunnel::claude::schema::recipe(), &mut recipe_keys);
    let mut papers = BTreeSet::new();
    for record in records {
        let key = &record.key;
        assert!(papers.insert(record.identifier()), "{key} is there twice");
        assert!(
            record.note.as_ref().is_some_and(|n| n.len() > 120),
            "{key}: no note"
        );
        let source = record.source.as_ref().unwrap();
        for address in source.split("; ") {
            assert!(address.starts_with("http"), "{key}: {address}");
        }
        let family = key
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect::<String>();
        assert!(
            key[family.len()..].starts_with(&record.year.to_string()),
            "{key}"
        );
        for factor in &record.factors {
            for part in factor.split('.') {
                assert!(
                    recipe_keys.contains(part),
                    "{key}: {factor} is no key of a recipe"
                );
            }
        }
    }
}

/// Names of properties anywhere in a JSON Schema.
fn property_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| property_names(value, names));
        }
        Value::Array(all) => all.iter().for_each(|value| property_names(value, names)),
        _ => {}
    }
}

#[test]
fn words_find_records_whatever_their_form() {
    let library = built_in();
    let keys = |query: &str| -> Vec<String> {
        let hits = library.search(query, 5).unwrap();
        hits.into_iter().map(|hit| hit.key).collect()
    };
    assert_eq!(keys("warmup stable decay")[0], "wen2024understanding");
    assert_eq!(keys("DOREMI")[0], "xie2023doremi");
    assert_eq!(
        keys("hagele")[0],
        "hagele2024scaling",
        "accents do not matter"
    );
    assert_eq!(keys("2405.18392")[0], "hagele2024scaling");
    assert!(
        keys("spike").contains(&"takase2023spike".into()),
        "spikes, spike"
    );
    let scores: Vec<f64> = library
        .search("muon", 9)
        .unwrap()
        .iter()
        .map(|h| h.score)
        .collect();
    assert!(
        scores.windows(2).all(|pair| pair[0] >= pair[1]) && scores[0] > 0.0,
        "{scores:?}"
    );
}

#[test]
fn any_text_is_a_query() {
    let library = built_in();
    for query in [
        "",
        "   ",
        "\"",
        "*",
        "AND",
        "OR NOT",
        "NEAR(",
        "title:",
        "a*b",
        "^",
        "--",
        "'",
        "(((",
        "\0",
        "💥",
        "\u{202e}",
        "qk_norm\0x",
    ] {
        library.search(query, 3).unwrap();
    }
    let plain = library.search("query key normalization", 3).unwrap();
    let hostile = library
        .search("\"query\" AND (key* NOT normalization) -- title:", 3)
        .unwrap();
    assert_eq!(plain[0].key, hostile[0].key);
    let long = "optimizer ".repeat(20_000);
    assert_eq!(library.search(&long, 2).unwrap().len(), 2);
    assert!(library.search("!!! ???", 3).unwrap().is_empty());
}

#[test]
fn a_factor_finds_what_is_about_it_and_its_value_decides_the_order() {
    let library = built_in();
    let about = library.about_factor("data.mixture").unwrap();
    assert!(
        about
            .iter()
            .all(|hit| hit.factors.contains(&"data.mixture".into()))
    );
    let first = |value: &str| {
        library.about_change("optimizer.kind", value).unwrap()[0]
            .key
            .clone()
    };
    assert_eq!(first("\"lion\""), "chen2023symbolic");
    assert!(first("\"muon\"").contains("muon"));
    let whole = library.about_factor("optimizer").unwrap();
    assert!(!whole.is_empty(), "what is part of it");
    assert_eq!(
        library.about_factor("optimizer.rates.embedding").unwrap()[0].factors[0]
            .split('.')
            .next(),
        Some("optimizer")
    );
    let said = library
        .for_factors(&["stack", "model.qk_norm", "none", "model.qk_norm"])
        .unwrap();
    assert_eq!(said.len(), 1, "once each, and no factor is none");
    assert_eq!(said[0].factor, "model.qk_norm");
}

#[test]
fn an_unknown_citation_names_the_one_that_was_meant() {
    let library = built_in();
    assert!(library.has("xie2023doremi") && !library.has("xie2023doremy"));
    let error = library.get("xie2023doremy").unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.remedy.contains("xie2023doremi"), "{error}");
    assert!(
        library
            .get("hoffmann2021")
            .unwrap_err()
            .remedy
            .contains("hoffmann2022training")
    );
    assert!(
        !library
            .get("\u{1b}[2Jx")
            .unwrap_err()
            .to_string()
            .contains('\u{1b}')
    );
}

#[test]
fn the_commands_answer_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let (_, found, _) = run(dir.path(), &["lit", "search", "muon", "--most", "2"]);
    assert_eq!(found["schema"], "windtunnel.literature.v1");
    assert_eq!(found["hits"].as_array().unwrap().len(), 2);
    let (_, of_factor, _) = run(dir.path(), &["lit", "search", "--factor", "model.z_loss"]);
    assert_eq!(of_factor["hits"][0]["key"], "wortsman2023small");
    let (_, shown, _) = run(dir.path(), &["lit", "show", "wortsman2023small"]);
    assert_eq!(shown["record"]["arxiv"], "2309.14322");
    let bibtex = shown["bibtex"].as_str().unwrap();
    let file = dir.path().join("copy.bib");
    fs::write(
        &file,
        bibtex
            .replace("wortsman2023small", "another")
            .replace("2309.14322", "2309.99999"),
    )
    .unwrap();
    let (code, added, stderr) = run(dir.path(), &["lit", "add", file.to_str().unwrap()]);
    assert_eq!(
        (code, &added["added"][0]),
        (0, &Value::from("another")),
        "what is shown can be added: {stderr}"
    );
    let (_, all, _) = run(dir.path(), &["lit", "list"]);
    assert_eq!(
        all["records"].as_array().unwrap().len(),
        built_in().records().len() + 1
    );
    let (code, error, _) = run(dir.path(), &["lit", "show", "nobody2000nothing"]);
    assert_eq!((code, &error["status"]), (2, &Value::from(2)));
}
