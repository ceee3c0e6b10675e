//! A software bill of materials, CycloneDX 1.6 in JSON: the parts that programs are linked from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::crates::{Crate, Crates, Id};
use crate::error::Result;
use crate::layout::hex;
use crate::origin::Origin;
use crate::programs::Programs;
use crate::runtime::{self, Part};
use crate::{SOURCE, json};

/// Makes the document, which is the same for the same programs and lock files.
///
/// # Errors
/// cargo cannot list the programs' crates.
pub fn document(source: &Path, origin: &Origin, programs: &Programs) -> Result<Vec<u8>> {
    let names: Vec<&str> = programs.names().collect();
    let crates = Crates::read(source, &names, programs.architecture.triple())?;
    let mut parts: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
    for name in names {
        parts.insert(name, runtime::parts(programs.bytes(name))?);
    }
    let bill = Bill { origin, programs, crates: &crates, parts };
    bill.write()
}

struct Bill<'a> {
    origin: &'a Origin,
    programs: &'a Programs,
    crates: &'a Crates,
    /// The toolchain's parts, by program.
    parts: BTreeMap<&'a str, Vec<Part>>,
}

impl Bill<'_> {
    fn write(&self) -> Result<Vec<u8>> {
        let mut document = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": self.origin.date()?,
                "lifecycles": [{"phase": "build"}],
                "tools": {"components": [{"type": "application", "name": "catamaran-dist", "version": self.origin.version}]},
                "component": self.whole(),
            },
            "components": self.components(),
            "dependencies": self.dependencies(),
        });
        // A digest of the content, so that the number is the same exactly if the content is.
        document["serialNumber"] = json!(format!("urn:uuid:{}", uuid(&hex(&json::sorted(&document)?))));
        json::pretty(&document)
    }

    fn whole(&self) -> Value {
        json!({
            "type": "application",
            "bom-ref": "catamaran",
            "name": "catamaran",
            "version": self.origin.version,
            "purl": self.own_purl(""),
            "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
            "externalReferences": [{"type": "vcs", "url": SOURCE}],
            "properties": [
                {"name": "catamaran:revision", "value": self.origin.revision},
                {"name": "catamaran:target", "value": self.programs.architecture.triple()},
            ],
        })
    }

    fn components(&self) -> Vec<Value> {
        let programs = self.programs.names().map(|name| self.program(name));
        let parts: BTreeSet<&Part> = self.parts.values().flatten().collect();
        let crates = self.crates.all.iter().map(|(id, found)| self.library(id, found));
        programs.chain(parts.into_iter().map(part)).chain(crates).collect()
    }

    fn program(&self, name: &str) -> Value {
        json!({
            "type": "application",
            "bom-ref": program_ref(name),
            "name": name,
            "version": self.origin.version,
            "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
            "hashes": [{"alg": "SHA-256", "content": hex(self.programs.bytes(name))}],
        })
    }

    fn library(&self, id: &Id, found: &Crate) -> Value {
        let purl = self.purl(id);
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": id.name,
            "version": id.version,
            "purl": purl,
            "licenses": match &found.licence {
                Some(expression) => json!([{"expression": expression}]),
                None => json!([{"license": {"name": "see the package"}}]),
            },
        });
        if let Some(checksum) = &found.checksum {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    }

    fn purl(&self, id: &Id) -> String {
        match self.crates.all.get(id).and_then(|found| found.own.as_ref()) {
            Some(folder) => self.own_purl(&format!("#{folder}")),
            None => format!("pkg:cargo/{}@{}", id.name, id.version.replace('+', "%2B")),
        }
    }

    fn own_purl(&self, path: &str) -> String {
        let repository = SOURCE.trim_start_matches("https://github.com/");
        format!("pkg:github/{repository}@v{}{path}", self.origin.version)
    }

    fn dependencies(&self) -> Vec<Value> {
        let refs = |ids: &BTreeSet<Id>| ids.iter().map(|id| self.purl(id)).collect::<Vec<_>>();
        let programs: Vec<String> = self.programs.names().map(program_ref).collect();
        let mut dependencies = vec![json!({"ref": "catamaran", "dependsOn": programs})];
        for name in self.programs.names() {
            let mut uses = self.crates.programs.get(name).map(refs).unwrap_or_default();
            uses.extend(self.parts.get(name).into_iter().flatten().map(|part| part.purl.clone()));
            dependencies.push(json!({"ref": program_ref(name), "dependsOn": uses}));
        }
        let linked = self.crates.uses.iter().filter(|(id, _)| self.crates.all.contains_key(id));
        dependencies.extend(linked.map(|(id, uses)| json!({"ref": self.purl(id), "dependsOn": refs(uses)})));
        dependencies
    }
}

fn program_ref(name: &str) -> String {
    format!("program:{name}")
}

fn part(part: &Part) -> Value {
    json!({
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "licenses": [{"expression": part.licence}],
    })
}

/// Makes a UUID of version 8 (RFC 9562: its maker's own) from a digest.
fn uuid(digest: &str) -> String {
    format!("{}-{}-8{}-8{}-{}", &digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32])
}
