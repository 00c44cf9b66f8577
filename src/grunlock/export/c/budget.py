"""Whether a model fits into a device, and what would make it fit: asked before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from grunlock.errors import ExportError
from grunlock.export.c.constants import Constants
from grunlock.export.c.contents import COptions, contents_of
from grunlock.export.c.layout import bytes_of_step, needs_steps, peek_bytes, state_bytes
from grunlock.export.c.unicode_tables import UnicodeRange
from grunlock.export.portable import PortableModel

NARROWER: dict[UnicodeRange, tuple[UnicodeRange, ...]] = {
    "full": ("latin", "ascii"),
    "latin": ("ascii",),
    "ascii": (),
}
STEPS_TOGETHER = 4  # of which GRUNLOCK_MAX_STEPS is a multiple


@dataclass(frozen=True)
class Budget:
    """Bytes of constant arrays and of the state; None: as many as it takes."""

    max_flash: int | None = None
    max_ram: int | None = None

    def holds(self, sizes: "Sizes") -> bool:
        return self.excess(sizes) == 0

    def excess(self, sizes: "Sizes") -> int:
        """Bytes too many, of both together."""
        limits = (self.max_flash, sizes.flash), (self.max_ram, sizes.ram)
        return sum(max(0, size - limit) for limit, size in limits if limit is not None)

    def __str__(self) -> str:
        limits = (self.max_flash, "constants"), (self.max_ram, "state")
        return ", ".join(f"{limit:,} bytes of {what}" for limit, what in limits if limit is not None)


NO_BUDGET = Budget()


@dataclass(frozen=True)
class Sizes:
    """Bytes of an export with some options: constant arrays, and GRUNLOCK_STATE_BYTES, of which step_bytes
    for each of max_steps, and peek_bytes that can be done without."""

    options: COptions
    flash: int
    ram: int
    step_bytes: int
    max_steps: int
    peek_bytes: int

    @classmethod
    def of(cls, options: COptions, contents: Constants) -> "Sizes":
        macros = contents.macros
        is_text, grows = bool(macros["READS_TEXT"]), needs_steps(macros)
        return cls(
            options=options,
            flash=contents.num_bytes,
            ram=state_bytes(macros, is_text=is_text),
            step_bytes=bytes_of_step(macros) if grows else 0,
            max_steps=int(macros["MAX_STEPS"]),
            peek_bytes=peek_bytes(macros),
        )

    def smaller(self, max_ram: int | None) -> "Sizes | None":
        """Without answers before the end, or with so few steps that the state fits; None if nothing helps."""
        if max_ram is None or self.ram <= max_ram or not (self.peek_bytes or self.step_bytes):
            return None
        if self.peek_bytes:
            blind = replace(self.options, peek=False)
            return replace(self, options=blind, ram=self.ram - self.peek_bytes, peek_bytes=0)
        fixed = self.ram - self.step_bytes * self.max_steps
        steps = (max_ram - fixed) // (self.step_bytes * STEPS_TOGETHER) * STEPS_TOGETHER
        if steps < STEPS_TOGETHER:
            return None
        ram = fixed + self.step_bytes * steps
        return replace(self, options=replace(self.options, max_steps=steps), ram=ram, max_steps=steps)


def refuse_unless_within(
    budget: Budget, model: PortableModel, options: COptions, contents: Constants
) -> None:
    """contents: those that the options make. Raises ExportError for a model that is larger than the budget,
    with the options that would make it fit, or as small as it gets."""
    found = Sizes.of(options, contents)
    if budget.holds(found):
        return
    fitting, smallest = None, found
    for sizes in _alternatives(budget, model, found):
        if budget.excess(sizes) < budget.excess(smallest):
            smallest = sizes
        if budget.holds(sizes):
            fitting = sizes
            break
    raise ExportError(
        "The model is larger than the budget.",
        where=", ".join(_exceeded(budget, found)),
        got=_told(found),
        expected=f"at most {budget}",
        cure=f"{_changed(found, fitting)} makes it {_told(fitting)}"
        if fitting is not None
        else _smaller_model(budget, model, found, smallest),
    )


def _exceeded(budget: Budget, sizes: Sizes) -> list[str]:
    limits = ("--max-flash", budget.max_flash, sizes.flash), ("--max-ram", budget.max_ram, sizes.ram)
    return [option for option, limit, size in limits if limit is not None and size > limit]


def _told(sizes: Sizes) -> str:
    return f"{sizes.flash:,} bytes of constants and {sizes.ram:,} of state"


def _alternatives(budget: Budget, model: PortableModel, found: Sizes) -> Iterator[Sizes]:
    """The same model with other options, those that change least first."""
    options = found.options
    narrower = NARROWER[options.unicode] if model.kind == "text" else ()
    for unicode in (options.unicode, *narrower):
        tried = [replace(options, unicode=unicode, int8=int8) for int8 in sorted({options.int8, True})]
        whole = [found if each == options else Sizes.of(each, contents_of(model, each)) for each in tried]
        yield from whole
        smaller = (sizes.smaller(budget.max_ram) for sizes in whole)
        yield from (sizes for sizes in smaller if sizes is not None)


def _changed(found: Sizes, other: Sizes) -> str:
    """The options that lead from one to the other."""
    before, after = found.options, other.options
    changes = (
        ("--int8", after.int8 != before.int8),
        (f"--unicode {after.unicode}", after.unicode != before.unicode),
        ("--no-peek", after.peek != before.peek),
        (f"--max-steps {after.max_steps}", after.max_steps != before.max_steps),
    )
    return " ".join(option for option, differs in changes if differs)


def _smaller_model(budget: Budget, model: PortableModel, found: Sizes, smallest: Sizes) -> str:
    """What to do where no option of the export is enough."""
    sizes = "encoder.hidden_size" if model.projection is None else "encoder.hidden_size or series.size"
    ways = []
    if budget.max_flash is not None and smallest.flash > budget.max_flash:
        if model.kind == "text":
            ways.append(f"export what grunlock compress RUN --max-size {budget.max_flash}B makes")
        ways.append(f"train with a smaller {sizes}")
    if budget.max_ram is not None and smallest.ram > budget.max_ram:
        both = getattr(model.encoder, "bidirectional", False)
        ways.append(
            "train with --set encoder.bidirectional=false, which keeps no steps"
            if both
            else f"train with a smaller {sizes}"
        )
    options = _changed(found, smallest)
    least = f"; as small as it gets, with {options}: {_told(smallest)}" if options else ""
    return f"{', or '.join(dict.fromkeys(ways))}{least}"
