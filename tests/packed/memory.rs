//! What a recipe takes of a GPU, counted where there is none.

use crate::bench::Bench;

/// Of a run alone, in bytes.
fn peak(said: &serde_json::Value) -> u64 {
    said["alone"]["peak"].as_u64().unwrap()
}

#[test]
fn memory_is_counted_without_a_gpu_and_decides_passes_and_packs() {
    let bench = Bench::new();
    let said = |more: &[&str]| bench.json(&[&["memory", "recipe.toml"], more].concat());
    let large = ["model.n_embd=512", "model.n_layer=4", "batch.rows=64"];
    let with = |more: &[&str]| said(&[&large, more].concat());
    let roomy = with(&["--gib", "80"]);
    assert_eq!(roomy["schema"], "windtunnel.memory.v1");
    assert_eq!(
        (&roomy["rows_per_pass"], &roomy["frugal"]),
        (&64.into(), &false.into())
    );
    assert!(roomy["pack"].as_u64().unwrap() > 1);
    assert!(roomy["packed"]["peak"].as_u64().unwrap() > peak(&roomy));

    // A little less than what it takes: computing twice is enough. Much less: a step goes in passes.
    let gib = |bytes: f64| format!("{}", bytes / f64::from(1 << 30));
    let frugal = with(&["--gib", &gib(peak(&roomy) as f64)]);
    assert_eq!(
        (&frugal["rows_per_pass"], &frugal["frugal"]),
        (&64.into(), &true.into())
    );
    assert!(peak(&frugal) < peak(&roomy));
    let cut = with(&["--gib", &gib(peak(&frugal) as f64 * 0.95)]);
    assert!(cut["rows_per_pass"].as_u64().unwrap() < 64);
    assert!(peak(&cut) < peak(&frugal));
    // Half the bytes an activation.
    let half = with(&["--gib", "80", "--dtype", "bf16"]);
    assert!(half["alone"]["activations"].as_u64() < roomy["alone"]["activations"].as_u64());

    let refused = bench.refused(&["memory", "recipe.toml", "--gib", "0.0001"], 3);
    assert!(refused.contains("a step takes"), "{refused}");
    for wrong in ["0", "nan", "1e9"] {
        let refused = bench.refused(&["memory", "recipe.toml", "--gib", wrong], 2);
        assert!(refused.contains("--gib"), "{refused}");
    }
}
