"""What training fits before any model."""

from dataclasses import dataclass, replace

from rankwell.data.config import Config, LexicalConfig


@dataclass(frozen=True, slots=True)
class FirstStageFit:
    """What training fits before any model: BM25's k1 and b, and the lexical score's share."""

    k1: float
    b: float
    lexical_weight: float

    def lexical(self, config: LexicalConfig) -> LexicalConfig:
        """Returns the [lexical] section with this k1 and b."""
        return replace(config, k1=self.k1, b=self.b)

    @classmethod
    def configured(cls, config: Config) -> "FirstStageFit":
        """Returns what a configuration says, before anything is fitted."""
        return cls(config.lexical.k1, config.lexical.b, config.fusion.lexical_weight)
