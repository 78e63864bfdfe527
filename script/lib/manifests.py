"""Checks in rendered manifests what a schema cannot say: that the parts fit each other, and that no pod may more than it must.

    manifests.py FILE...

Kinds that Kubernetes itself does not know are held against the few fields of them that are used here. Needs no cluster.
"""

import sys

import jsonschema
import yaml

TEXT = {"type": "string", "minLength": 1}
LABELS = {"type": "object", "additionalProperties": TEXT}


def only(required, **optional):
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def some(items):
    return {"type": "array", "items": items, "minItems": 1}


RULE = only({"alert": TEXT, "expr": TEXT, "labels": LABELS, "annotations": LABELS}, **{"for": TEXT})
ENDPOINT = only({"port": TEXT, "path": TEXT, "interval": TEXT})
SPECS = {
    "PrometheusRule": only({"groups": some(only({"name": TEXT, "rules": some(RULE)}))}),
    "ServiceMonitor": only({"selector": only({"matchLabels": LABELS}), "endpoints": some(ENDPOINT)}),
}

CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
# Made by hand from files, never part of the manifests.
SECRETS = {"geft-sweeper", "geft-sweeper-owner"}


def pod_of(manifest):
    """The pod template of a workload; none for anything else."""
    spec = manifest.get("spec", {})
    return spec.get("jobTemplate", {}).get("spec", spec).get("template")


def pod_faults(pod, config_maps):
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a service account token"
    if not POD.items() <= spec.get("securityContext", {}).items() or not spec["securityContext"].get("runAsUser"):
        yield "is not restricted"
    for volume in spec["volumes"]:
        if "configMap" in volume and volume["configMap"]["name"] not in config_maps:
            yield f"mounts a ConfigMap that is not there: {volume['configMap']['name']}"
        if "secret" in volume and volume["secret"]["secretName"] not in SECRETS:
            yield f"mounts a secret that nobody makes: {volume['secret']['secretName']}"
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        name = container["name"]
        ports = {port["name"] for port in container.get("ports", [])}
        probes = [container[probe] for probe in ("livenessProbe", "readinessProbe") if probe in container]
        if container.get("securityContext") != CONTAINER:
            yield f"container {name} is not restricted"
        if {mount["name"] for mount in container.get("volumeMounts", [])} - volumes:
            yield f"container {name} mounts what is no volume"
        if {probe["httpGet"]["port"] for probe in probes} - ports:
            yield f"container {name} is probed at a port that it does not have"
        if ":" not in container["image"]:
            yield f"container {name} has an image without a version"
        if not {"requests", "limits"} <= container.get("resources", {}).keys():
            yield f"container {name} has no resources"


def selects(labels, pods):
    return any(labels.items() <= pod["metadata"]["labels"].items() for pod in pods)


def fitting_faults(manifest, by_kind, pods):
    """What one manifest says of the others."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind in ("Deployment", "PodDisruptionBudget") and not selects(spec["selector"]["matchLabels"], pods):
        yield "selects no pod"
    if kind == "Service" and not selects(spec["selector"], pods):
        yield "selects no pod"
    if kind == "NetworkPolicy":
        wanted = spec["podSelector"]["matchLabels"]
        if not all(selects(wanted, [pod]) for pod in pods):
            yield "leaves a pod out"
    if kind == "ServiceMonitor":
        services = [{"metadata": service["metadata"]} for service in by_kind.get("Service", [])]
        ports = {port["name"] for service in by_kind.get("Service", []) for port in service["spec"]["ports"]}
        if not selects(spec["selector"]["matchLabels"], services):
            yield "selects no Service"
        if {endpoint["port"] for endpoint in spec["endpoints"]} - ports:
            yield "asks at a port that no Service has"
    if kind in SPECS:
        yield from (error.message for error in jsonschema.Draft7Validator(SPECS[kind]).iter_errors(spec))
    if kind == "Secret":
        yield "is a secret, and must not be here"


def faults(path):
    with open(path, encoding="utf-8") as file:
        manifests = [manifest for manifest in yaml.safe_load_all(file) if manifest]
    by_kind = {}
    for manifest in manifests:
        by_kind.setdefault(manifest["kind"], []).append(manifest)
    config_maps = {manifest["metadata"]["name"] for manifest in by_kind.get("ConfigMap", [])}
    pods = [pod for manifest in manifests if (pod := pod_of(manifest))]
    if not pods:
        yield "has no workload"
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        pod = pod_of(manifest)
        found = [*(pod_faults(pod, config_maps) if pod else ()), *fitting_faults(manifest, by_kind, pods)]
        yield from (f"{name} {fault}" for fault in found)


def main(paths):
    found = [f"{path}: {fault}" for path in paths for fault in faults(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
