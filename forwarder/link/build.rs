//! Owns nothing but the declaration of `--cfg loom`, which the model tests are built with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(loom)");
}
