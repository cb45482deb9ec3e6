"""Settings that include the settings of a run's plugins."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict

from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Kind, digests, registered
from sdlcore.setting_errors import unknown_settings
from sdlcore.settings import Settings


class Extensible(Settings):
    """Settings that plugins add to (`sdlcore.plugins`). A plugin's settings stand flat beside the built-in ones."""

    model_config = ConfigDict(extra="allow")
    extended_by: ClassVar[Kind]
    """Kind of the plugins that add to them."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the parts that the run uses; plugins among them have their settings here."""
        return ()

    @property
    def settings_of_plugin(self) -> Mapping[str, Any]:
        """The settings of the plugins that the run uses, with their defaults."""
        return self.model_extra or {}

    @property
    def by_plugin(self) -> bool:
        """Whether a plugin reads these settings, and so may depend on any of them."""
        return False

    @property
    def plugins(self) -> dict[str, str]:
        """Digests of the files of the plugins that the run uses, by name."""
        return digests(filter(None, (registered(self.extended_by, name) for name in self.chosen)))

    def check_together(self) -> None:
        """Check the settings of the chosen plugins, fill in their defaults, and remove settings of other plugins.

        Raises
        ------
        ValueError
            Naming settings that no plugin has, or the first that does not fit.
        """
        settings = self.settings_of_plugin
        of_plugins = own_settings(self.extended_by) if settings else {}
        if unknown := sorted(settings.keys() - of_plugins.keys()):
            raise unknown_settings(self.called, unknown, [*type(self).model_fields, *of_plugins])
        checked: dict[str, Any] = {}
        for name in self.chosen:
            if (extension := registered(self.extended_by, name)) is not None:
                theirs = {key: value for key, value in settings.items() if key in extension.settings.model_fields}
                checked |= dict(extension.settings.from_dict(theirs))
        object.__setattr__(self, "__pydantic_extra__", checked)  # frozen, but not yet handed out
