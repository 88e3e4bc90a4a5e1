//! The paths of boot2container, `/storage` and `/container`: on the cache, or in memory.

use crate::cache::{clean, somebodys, with_disk};
use crate::lab::{boot, boot_with, disk, POWER_DOWN};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Promise: storage-paths
#[test]
fn kept_on_the_cache() {
    let Some(disk) = disk("storage.img", 64, "B2C_CACHE") else { return };
    let words = r#"b2c.cache_device=auto b2c.run="-v /container/tmp:/x pull:payload write /x/one first"
        b2c.run="-v /storage/tmp:/y:ro pull:payload cat /y/one" b2c.run="-v /storage/deep/er:/z pull:payload write /z/two second"
        b2c.run="-v /container:/all pull:payload stat /all/tmp/one /all/ocinit /all/lost+found""#;
    let Some(seen) = boot_with("storage_first", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("first");
    for path in ["/all/tmp/one file", "/all/ocinit directory 0700", "/all/lost+found directory"] {
        seen.says(path);
    }
    clean(&disk);
    let words = r#"b2c.cache_device=/dev/vda b2c.run="-v /storage/tmp:/x pull:payload cat /x/one"
        b2c.run="-v /container/deep:/z pull:payload cat /z/er/two" b2c.run="pull:payload exit 7""#;
    let Some(seen) = boot_with("storage_second", words, with_disk(&disk)) else { return };
    seen.over(7, POWER_DOWN);
    seen.in_order(&["first", "second"]);
    clean(&disk);
    // The same disk as a named file system.
    let words = r#"b2c.filesystem=disk,type=ext4,src=LABEL=B2C_CACHE b2c.cache_device=disk
        b2c.run="-v /storage/tmp:/x pull:payload cat /x/one""#;
    let Some(seen) = boot_with("storage_named", words, with_disk(&disk)) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("first");
    clean(&disk);
}

/// Promise: storage-paths
#[test]
fn in_memory_without_a_cache() {
    let words = r#"b2c.run="-v /container/tmp:/x pull:payload write /x/one memory"
        b2c.run="-v /storage:/y pull:payload cat /y/tmp/one" b2c.run_service="-v /storage/of-service:/x pull:payload ls /x"
        b2c.run="-v /storages/x:/y pull:payload echo never made" b2c.run="-v /storage/../none:/y pull:payload""#;
    let Some(seen) = boot("storage_memory", words) else { return };
    seen.over(125, POWER_DOWN);
    seen.at("memory");
    seen.says("FAIL container  volume /storages/x: no such file or directory");
    seen.says("FAIL container  volume /storage/../none: no such file or directory");
    seen.never("of-service: no such file");
}

/// What is on a lab's disk is there by its path, also where images cannot be kept on it; a link on a disk that came
/// from another machine leads nowhere.
/// Promise: storage-paths, foreign-directories
#[test]
fn what_a_lab_has_on_its_disk() {
    let foreign = |files: &Path| {
        std::fs::create_dir_all(files.join("ocinit/tmp/0")).unwrap();
        std::fs::write(files.join("ocinit/tmp/letter"), "kept").unwrap();
        symlink("/etc", files.join("out")).unwrap();
        symlink("home/0", files.join("inside")).unwrap();
    };
    let Some(disk) = somebodys("storage-foreign", foreign) else { return };
    let words = r#"b2c.cache_device=auto b2c.run="-v /container/home/0:/h pull:payload cat /h/letter"
        b2c.run="-v /storage/inside:/h pull:payload write /h/answer written"
        b2c.run="-v /storage/home:/h pull:payload cat /h/0/answer"
        b2c.run="-v /storage/out:/h pull:payload echo escaped""#;
    let Some(seen) = boot_with("storage_foreign", words, with_disk(&disk)) else { return };
    seen.over(125, POWER_DOWN);
    seen.in_order(&["home", "written"]);
    assert!(seen.says("its directory 'ocinit' is not empty and has no file").ends_with("; images are kept in memory"));
    seen.says("FAIL container  volume /storage/out: leads to /etc, out of /storage");
    seen.never("escaped");
    clean(&disk);
}
