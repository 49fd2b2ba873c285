"""`completion`: what bash, zsh and fish complete behind `hsm-agent`.

The scripts are made from the command line and run no Python: a key press must not wait for it. What they do not know
are names that only a running agent knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.cli.command_line import OptionWords, Takes, VerbWords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_MADE = "# Made by: hsm-agent completion"


def completion(shell: str, top: VerbWords) -> str:
    """The script for a shell of SHELLS."""
    return "\n".join([*SHELLS[shell](top), ""])


def _quoted(text: str) -> str:
    """As one word of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _name(verb: VerbWords) -> str:
    return " ".join(verb.path)


def _step(verb: VerbWords) -> str:
    """The verb above it, and the word that leads from there to this one."""
    return f"{' '.join(verb.path[:-1])}:{verb.path[-1]}"


def _with_value(verb: VerbWords) -> list[OptionWords]:
    return [option for option in verb.options if option.takes is not Takes.NOTHING]


def _bash(top: VerbWords) -> Iterator[str]:
    verbs = [*top.walk()]
    yield _MADE
    yield from (
        "",
        "_hsm_agent() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb='' index",
        "    # --option=value comes as three words",
        '    if [[ $current == "=" ]]; then',
        "        current=''",
        '    elif [[ $previous == "=" ]]; then',
        "        previous=${COMP_WORDS[COMP_CWORD - 2]}",
        "    fi",
        "    for ((index = 1; index < COMP_CWORD; index++)); do",
        '        case "$verb:${COMP_WORDS[index]}" in',
    )
    valued = [f"{_quoted(f'{_name(verb)}:{name}')}" for verb in verbs for o in _with_value(verb) for name in o.names]
    yield f"            {' | '.join(valued)}) ((index++)) ;;"
    for verb in verbs[1:]:
        yield f"            {_quoted(_step(verb))}) verb={_quoted(_name(verb))} ;;"
    yield from ("        esac", "    done", "    COMPREPLY=()", '    case "$verb:$previous" in')
    for verb in verbs:
        for option in _with_value(verb):
            places = " | ".join(_quoted(f"{_name(verb)}:{name}") for name in option.names)
            yield f"        {places}) {_bash_values(option.takes, option.choices)}; return ;;"
    yield from ("    esac", '    case "$verb" in')
    for verb in verbs:
        yield f"        {_quoted(_name(verb))})"
        names = " ".join(name for option in verb.options for name in option.names)
        yield "            if [[ $current == -* ]]; then"
        yield f"                {_bash_words(names)}"
        others = [each.path[-1] for each in verb.verbs]
        yield from (
            "            else",
            f"                {_bash_others(verb, others)}",
            "            fi",
            "            ;;",
        )
    yield from ("    esac", "}", "complete -F _hsm_agent hsm-agent")


def _bash_words(words: str) -> str:
    return f'mapfile -t COMPREPLY < <(compgen -W {_quoted(words)} -- "$current")'


def _bash_values(takes: Takes, choices: Iterable[str]) -> str:
    if words := " ".join(choices):
        return _bash_words(words)
    if takes is Takes.WORD:
        return ":"
    kind = "-d" if takes is Takes.DIRECTORY else "-f"
    return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen {kind} -- "$current")'


def _bash_others(verb: VerbWords, others: list[str]) -> str:
    if others:
        return _bash_words(" ".join(others))
    if verb.argument_takes is Takes.NOTHING:
        return ":"
    return _bash_values(verb.argument_takes, verb.argument_choices)


def _zsh(top: VerbWords) -> Iterator[str]:
    yield "#compdef hsm-agent"
    yield _MADE
    for verb in reversed([*top.walk()]):
        yield from ("", f"{_zsh_function(verb)}() {{", "    local curcontext=$curcontext state line")
        yield "    typeset -A opt_args"
        specifications = [_zsh_option(option) for option in verb.options]
        if verb.verbs:
            specifications += ["'1: :->verb'", "'*:: :->words'"]
        elif verb.has_known_arguments:
            specifications.append(
                f"'*:{verb.argument_takes.value}:{_zsh_action(verb.argument_takes, verb.argument_choices)}'"
            )
        yield "    _arguments -C \\"
        yield " \\\n".join(f"        {each}" for each in specifications)
        if verb.verbs:
            yield from _zsh_verbs(verb)
        yield "}"
    yield from ("", '_hsm_agent "$@"')


def _zsh_verbs(verb: VerbWords) -> Iterator[str]:
    yield from ("    case $state in", "        verb)", "            local -a verbs=(")
    for each in verb.verbs:
        yield f"                {_quoted(f'{each.path[-1]}:{each.summary}')}"
    yield from ("            )", "            _describe -t verbs verb verbs", "            ;;", "        words)")
    yield "            case $words[1] in"
    yield from (f"                {each.path[-1]}) {_zsh_function(each)} ;;" for each in verb.verbs)
    yield from ("            esac", "            ;;", "    esac")


def _zsh_function(verb: VerbWords) -> str:
    return "_".join(["_hsm_agent", *(word.replace("-", "_") for word in verb.path)])


def _zsh_option(option: OptionWords) -> str:
    text = option.help
    for mark in "\\[]:":
        text = text.replace(mark, f"\\{mark}")
    value = (
        "" if option.takes is Takes.NOTHING else f":{option.takes.value}:{_zsh_action(option.takes, option.choices)}"
    )
    names = " ".join(option.names)
    words = ",".join(option.names)
    choice = f"{{{words}}}" if len(option.names) > 1 else words
    # `*`: again and again; else not beside itself nor its other names.
    begin = f"{_quoted('*')}" if option.repeats else _quoted(f"({names})")
    return f"{begin}{choice}{_quoted(f'[{text}]{value}')}"


def _zsh_action(takes: Takes, choices: Iterable[str]) -> str:
    if words := " ".join(choices):
        return f"({words})"
    return {Takes.FILE: "_files", Takes.DIRECTORY: "_files -/"}.get(takes, " ")


def _fish(top: VerbWords) -> Iterator[str]:
    verbs = [*top.walk()]
    yield _MADE
    yield from (
        "",
        "function __hsm_agent_verb --description 'The verb that is on the command line'",
        "    set --local verb ''",
        "    set --local skip 0",
        "    for word in (commandline --tokenize --cut-at-cursor --current-process)[2..-1]",
        "        if test $skip = 1",
        "            set skip 0",
        "            continue",
        "        end",
        '        switch "$verb:$word"',
    )
    valued = [_fish_word(f"{_name(verb)}:{name}") for verb in verbs for o in _with_value(verb) for name in o.names]
    yield from (f"            case {' '.join(valued)}", "                set skip 1")
    for verb in verbs[1:]:
        yield f"            case {_fish_word(_step(verb))}"
        yield f"                set verb {_fish_word(_name(verb))}"
    yield from ("        end", "    end", '    echo "$verb"', "end", "")
    yield "complete --command hsm-agent --no-files"
    for verb in verbs:
        condition = _fish_word(f'test (__hsm_agent_verb) = "{_name(verb)}"')
        begin = f"complete --command hsm-agent --condition {condition}"
        for each in verb.verbs:
            yield f"{begin} --arguments {each.path[-1]} --description {_fish_word(each.summary)}"
        if not verb.verbs and verb.argument_takes in {Takes.FILE, Takes.DIRECTORY}:
            yield f"{begin} --force-files"
        if verb.argument_choices:
            yield f"{begin} --arguments {_fish_word(' '.join(verb.argument_choices))}"
        yield from (f"{begin} {_fish_option(option)}" for option in verb.options)


def _fish_option(option: OptionWords) -> str:
    names = [f"--long-option {n[2:]}" if n.startswith("--") else f"--short-option {n[1:]}" for n in option.names]
    value: Mapping[Takes, list[str]] = {
        Takes.NOTHING: [],
        Takes.FILE: ["--require-parameter", "--force-files"],
        Takes.DIRECTORY: ["--exclusive", "--arguments", "'(__fish_complete_directories)'"],
        Takes.WORD: ["--exclusive"],
    }
    words = [*names, *value[option.takes]]
    if option.choices:
        words += ["--arguments", _fish_word(" ".join(option.choices))]
    if option.help:
        words += ["--description", _fish_word(option.help)]
    return " ".join(words)


def _fish_word(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: Mapping[str, Callable[[VerbWords], Iterator[str]]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}
"""By the shell's name: the lines of its script."""
