//! GDScript of both major versions: declarations, references, and what must not be taken for them.

use proptest::prelude::*;

use super::{Member, ReferenceKind, ScriptFacts};
use crate::fault::Flaws;

fn read(text: &str) -> ScriptFacts {
    let mut flaws = Flaws::default();
    let facts = ScriptFacts::read(text, &mut flaws);
    assert_eq!(flaws.into_vec(), [], "for {text}");
    facts
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_str()).collect()
}

/// The references of a text, as `kind target line`.
fn check_references(text: &str, expected: &[(ReferenceKind, &str, u32)]) {
    let facts = read(text);
    let found: Vec<_> = facts
        .references
        .iter()
        .map(|reference| (reference.kind, reference.target.as_str(), reference.line))
        .collect();
    assert_eq!(found, expected, "for {text}");
}

#[test]
fn a_script_of_godot_4_is_understood() {
    let facts = read(concat!(
        "@tool\n",
        "@icon(\"res://icon.svg\")\n",
        "class_name Bow extends Weapon\n",
        "## Shoots. signal not_a_signal\n",
        "signal shot(arrow: Node2D, at: Vector2)\n",
        "signal broken\n",
        "@export var speed := 3.0\n",
        "@export_range(0, 10, 0.5, \"or_greater\") var pull: float\n",
        "@export_group(\"Ammo\")\n",
        "@export\n",
        "@onready\n",
        "var arrow: PackedScene\n",
        "var plain = 1\n",
        "static var count := 0\n",
        "const ARROW = preload(\"arrow.tscn\")\n",
        "func _ready() -> void:\n",
        "\tvar f = func(x): return x\n",
        "static func make(a: int = 1, b := \"x\") -> Bow:\n",
        "\treturn null\n",
        "@abstract func draw()\n",
        "class Quiver extends \"quiver_base.gd\":\n",
        "\tsignal empty\n",
        "\tfunc take():\n",
        "\t\tpass\n",
    ));
    assert!(facts.tool);
    assert_eq!(facts.class_name.as_deref(), Some("Bow"));
    assert_eq!(facts.extends.as_deref(), Some("Weapon"));
    assert_eq!(names(&facts.signals), ["shot", "broken", "empty"]);
    assert_eq!(facts.signals[0].detail, "(arrow: Node2D, at: Vector2)");
    assert_eq!(names(&facts.exports), ["speed", "pull", "arrow"]);
    assert_eq!(facts.exports[1].detail, "export_range");
    assert_eq!(facts.exports[2].line, 12);
    assert_eq!(names(&facts.functions), ["_ready", "make", "draw", "take"]);
    assert_eq!(facts.functions[1].line, 18);
}

#[test]
fn a_script_of_godot_3_is_understood() {
    let facts = read(concat!(
        "tool\n",
        "class_name Door, \"res://door.png\"\n",
        "extends \"res://base/thing.gd\"\n",
        "export(PackedScene) var key\n",
        "export(int, \"a\", \"b\") var kind = 0 setget set_kind\n",
        "export var open = false\n",
        "onready var hinge = get_node(\"Hinge\")\n",
        "remote func slam(force):\n",
        "\tpass\n",
        "master func lock(): pass\n",
        "func set_kind(value):\n",
        "\tkind = value\n",
        "\ttool.use(value)\n",
    ));
    assert!(facts.tool);
    assert_eq!(facts.class_name.as_deref(), Some("Door"));
    assert_eq!(facts.extends.as_deref(), Some("res://base/thing.gd"));
    assert_eq!(names(&facts.exports), ["key", "kind", "open"]);
    assert_eq!(facts.exports[0].detail, "export(PackedScene)");
    assert_eq!(names(&facts.functions), ["slam", "lock", "set_kind"]);
    assert!(!read("func f():\n\ttool.use()\n").tool);
}

#[test]
fn references_are_found_where_they_are_made() {
    use ReferenceKind::{Extends, Load, Preload, Text};
    check_references("extends Node\n", &[(Extends, "Node", 1)]);
    check_references("extends 'res://a.gd'\n", &[(Extends, "res://a.gd", 1)]);
    check_references("class_name A extends \"b.gd\"\n", &[(Extends, "b.gd", 1)]);
    check_references("const A = preload(\"a.gd\")\n", &[(Preload, "a.gd", 1)]);
    check_references(
        "const A = preload( \n\t\"a.gd\" )\n",
        &[(Preload, "a.gd", 2)],
    );
    check_references("var a = load('uid://abc')\n", &[(Load, "uid://abc", 1)]);
    check_references(
        "var a = ResourceLoader.load(\"res://a.tres\", \"\", 0)\n",
        &[(Load, "res://a.tres", 1)],
    );
    check_references("change(\"res://a.tscn\")\n", &[(Text, "res://a.tscn", 1)]);
    check_references(
        "var a = \"res://x\\\"y.gd\"\n",
        &[(Text, "res://x\"y.gd", 1)],
    );
    check_references("var a = \\\n  preload(\"a.gd\")\n", &[(Preload, "a.gd", 2)]);
    check_references("var a = r\"res://raw.gd\"\n", &[(Text, "res://raw.gd", 1)]);
    check_references(
        "var a = [\"\"\"res://long.gd\"\"\", 'res://b.gd']\n",
        &[(Text, "res://long.gd", 1), (Text, "res://b.gd", 1)],
    );
}

#[test]
fn comments_texts_and_patterns_are_no_references() {
    let texts = [
        "# preload(\"res://a.gd\")\n",
        "## load(\"res://a.gd\")\n",
        "var a = \"preload('res://a.gd')\"\n",
        "var a = \"\"\"\nload(\"res://a.gd\")\nextends Foo\nclass_name Bar\n\"\"\"\n",
        "var a = '''\nfunc nothing():\n'''\n",
        "var a = \"it's # no comment\" + 'and \"this\" neither'\n",
        "var a = \"res://levels/level_%d.tscn\" % 1\n",
        "var a = \"res://levels/\" + name\n",
        "var a = \"res://levels\"\n",
        "var a = \"res://{name}.gd\".format(x)\n",
        "if ResourceLoader.exists(\"res://a.gd\"): pass\n",
        "file.load(\"user://save.cfg\")\n",
        "var a = \"\\\\\"# comment with \"\n",
    ];
    for text in texts {
        check_references(text, &[]);
        let facts = read(text);
        assert_eq!(
            (facts.class_name, facts.extends, facts.functions),
            (None, None, vec![]),
            "for {text}"
        );
    }
}

#[test]
fn names_that_may_be_classes_or_autoloads_are_gathered_once() {
    let facts = read(concat!(
        "extends Node\n",
        "var a: Enemy = Enemy.new()\n",
        "func f():\n",
        "\tglobal.score += other.Inner.x\n",
        "\t$Player/Sprite.visible = %Lamp.lit\n",
        "\tvar b = 7 % Modulus\n",
        "\tlocal = 1 / Divisor\n",
    ));
    let symbols: Vec<_> = facts
        .symbols
        .iter()
        .map(|(name, line)| (name.as_str(), *line))
        .collect();
    let expected = [
        ("Node", 1),
        ("Enemy", 2),
        ("global", 4),
        ("other", 4),
        ("Modulus", 6),
        ("Divisor", 7),
    ];
    assert_eq!(symbols, expected);
}

#[test]
fn broken_scripts_are_reported_and_read_on() {
    let mut flaws = Flaws::default();
    let facts = ScriptFacts::read(
        "func a():\n\tvar x = (1,\nfunc b():\n\tvar y = \"open\nfunc c():\n\tpass\n\nvar z = [\n",
        &mut flaws,
    );
    assert_eq!(names(&facts.functions), ["a", "b", "c"]);
    let lines: Vec<_> = flaws.into_vec().into_iter().map(|flaw| flaw.line).collect();
    assert_eq!(lines, [Some(2), Some(4), Some(8)]);
}

#[test]
fn shaders_name_what_they_include() {
    let facts = ScriptFacts::read_shader(
        "shader_type spatial;\n#include \"res://a.gdshaderinc\"\n// #include \"no\"\n",
    );
    assert_eq!(facts.references.len(), 1);
    assert_eq!(
        (
            facts.references[0].target.as_str(),
            facts.references[0].line
        ),
        ("res://a.gdshaderinc", 2)
    );
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\""),
        Just("'"),
        Just("\"\"\""),
        Just("'''"),
        Just("\\"),
        Just("#"),
        Just("\n"),
        Just("\r\n"),
        Just("\t"),
        Just("("),
        Just(")"),
        Just("["),
        Just("{"),
        Just("}"),
        Just("@"),
        Just("@export"),
        Just("@export_range("),
        Just("func "),
        Just("class_name "),
        Just("class "),
        Just("extends "),
        Just("signal "),
        Just("var "),
        Just("export"),
        Just("preload("),
        Just("load("),
        Just("res://a.gd"),
        Just("r\""),
        Just("r"),
        Just("$"),
        Just("%"),
        Just("/"),
        Just("."),
        Just(":"),
        Just(","),
        Just("Name"),
        Just("1"),
        Just("0x"),
        Just("1e-"),
        Just("é"),
        Just("\u{1f600}"),
        Just("\u{2028}"),
        Just("\0"),
        Just(" "),
    ];
    proptest::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_reading_fail(text in pieces()) {
        let mut flaws = Flaws::default();
        let facts = ScriptFacts::read(&text, &mut flaws);
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        prop_assert!(facts.functions.iter().chain(&facts.signals).all(|member| (1..=lines).contains(&member.line)));
        prop_assert!(facts.references.iter().all(|reference| (1..=lines).contains(&reference.line)));
        prop_assert!(flaws.into_vec().iter().all(|flaw| flaw.line.is_some_and(|line| line <= lines)));
    }

    #[test]
    fn comments_add_nothing(text in "[^\n\r]{0,80}") {
        let facts = read(&format!("extends Node\n# {text}\nfunc f():\n\tpass # {text}\n"));
        prop_assert_eq!(facts.functions.len(), 1);
        prop_assert_eq!(facts.references.len(), 1);
    }
}
