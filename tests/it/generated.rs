//! The checked-in protobuf code is what `proto/` generates.

use std::path::Path;

use prost::Message as _;

/// `UPDATE_GENERATED=1` writes the files instead of comparing them.
#[test]
fn the_generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(
        [
            "cordum/agent/v1/buspacket.proto",
            "cordum/agent/v1/safety.proto",
        ],
        [root.join("proto")],
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut messages = prost_build::Config::new();
    messages.btree_map(["."]).bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds_with_config(descriptors.clone(), messages)
        .unwrap();
    let code = std::fs::read(out.path().join("cordum.agent.v1.rs")).unwrap();

    for (name, fresh) in [
        ("src/wire/generated.rs", code),
        ("src/wire/generated.fds", descriptors.encode_to_vec()),
    ] {
        let path = root.join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap_or_default() == fresh,
            "{name} is not what proto/ generates: run UPDATE_GENERATED=1 cargo test generated"
        );
    }
}
