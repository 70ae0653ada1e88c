"""The interfaces every object has: what Introspect says of them."""

from __future__ import annotations

PEER = "org.freedesktop.DBus.Peer"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

SIGNATURES = {
    (PEER, "Ping"): ("", ""),
    (PEER, "GetMachineId"): ("", "s"),
    (INTROSPECTABLE, "Introspect"): ("", "s"),
    (PROPERTIES, "Get"): ("ss", "v"),
    (PROPERTIES, "GetAll"): ("s", "a{sv}"),
    (PROPERTIES, "Set"): ("ssv", ""),
    (OBJECT_MANAGER, "GetManagedObjects"): ("", "a{oa{sa{sv}}}"),
}
"""Member to its arguments and its results."""

NAMES = frozenset(interface for interface, _ in SIGNATURES)

XML_HEAD = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)

ON_ANY_PATH = f"""\
  <interface name="{PEER}">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="{INTROSPECTABLE}">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
"""

ON_OBJECTS = f"""\
  <interface name="{PROPERTIES}">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{{sv}}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{{sv}}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"""

ON_ROOT = f"""\
  <interface name="{OBJECT_MANAGER}">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{{oa{{sa{{sv}}}}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object" type="o"/>
      <arg name="interfaces_and_properties" type="a{{sa{{sv}}}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
"""
